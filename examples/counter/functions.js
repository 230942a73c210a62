// A counter for each key: it adds what it is sent, and tells each new total.
//
// node functions.js PORT, or node functions.js PATH.sock, with the package of package.json.

const http = require("http");
const { StateFun, kinesisEgressMessage } = require("apache-flink-statefun");

// The SDK has no `long`: a protobuf message with a little-endian number of 64 bits in field 1, or nothing for zero.
const long = StateFun.customType(
  "io.statefun.types/long",
  (value) => {
    const bytes = Buffer.alloc(value === 0n ? 0 : 9, 0x09);
    if (value !== 0n) bytes.writeBigInt64LE(value, 1);
    return bytes;
  },
  (bytes) => (bytes.length === 0 ? 0n : Buffer.from(bytes).readBigInt64LE(1)),
);

const statefun = new StateFun();
statefun.bind({
  typename: "counter.kinesis/fn",
  specs: [{ name: "total", type: long }],
  fn(context, message) {
    const total = (context.storage.total ?? 0n) + message.as(long);
    context.storage.total = total;
    context.send(
      kinesisEgressMessage({
        typename: "counter.kinesis/results",
        stream: "counter.results",
        partitionKey: context.self.id,
        value: total.toString(),
      }),
    );
  },
});

http.createServer(statefun.handler()).listen(process.argv[2]);
