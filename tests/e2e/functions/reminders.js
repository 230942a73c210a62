// Reminders that ring later unless they are cancelled, and sessions that expire: for the end-to-end cases.
//
// node reminders.js PORT, with the package of examples/counter/package.json

const http = require("http");
const { StateFun, kinesisEgressMessage, messageBuilder } = require("apache-flink-statefun");

const COMMAND = StateFun.jsonType("reminders.e2e/command");
const REMINDERS = "reminders.e2e/reminders";
const TALLY = "reminders.e2e/tally";

function tell(context, text) {
  context.send(
    kinesisEgressMessage({
      typename: "reminders.e2e/results",
      stream: "results-stream",
      partitionKey: context.self.id,
      value: text,
    }),
  );
}

const to = (typename, id, value) => messageBuilder({ typename, id, value, valueType: COMMAND });

const statefun = new StateFun();
statefun.bind({
  typename: REMINDERS,
  specs: [
    { name: "asked", type: StateFun.intType() },
    { name: "rung", type: StateFun.intType() },
    { name: "session", type: StateFun.intType(), expireAfterWrite: 30000 },
  ],
  fn(context, message) {
    const command = message.as(COMMAND);
    const storage = context.storage;
    const id = context.self.id;
    switch (command.do) {
      case "remind":
        storage.asked = (storage.asked ?? 0) + 1;
        context.sendAfter(command.after, to(REMINDERS, id, { do: "ring", n: command.n }), `reminder-${command.n}`);
        break;
      case "cancel":
        context.cancelDelayedMessage(`reminder-${command.n}`);
        break;
      case "ring":
        storage.rung = (storage.rung ?? 0) + 1;
        tell(context, `rung ${command.n} ${storage.rung}`);
        context.send(to(TALLY, id, command));
        break;
      case "login":
        tell(context, `login ${command.n} ${storage.session ?? "none"}`);
        storage.session = command.n;
        break;
      case "look":
        tell(context, `look ${command.n} asked ${storage.asked ?? 0} rung ${storage.rung ?? 0}`);
        context.send(to(TALLY, id, command));
        break;
    }
  },
});
statefun.bind({
  typename: TALLY,
  specs: [{ name: "count", type: StateFun.intType() }],
  fn(context, message) {
    const command = message.as(COMMAND);
    if (command.do === "ring") {
      context.storage.count = (context.storage.count ?? 0) + 1;
    } else {
      tell(context, `tally ${command.n} ${context.storage.count ?? 0}`);
    }
  },
});

http.createServer(statefun.handler()).listen(process.argv[2]);
