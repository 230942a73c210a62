"""Reminders that ring later unless they are cancelled, and sessions that expire: for the end-to-end cases.

python reminders.py PORT, with the packages of server/functions-python.txt
"""

import sys
from datetime import timedelta

from aiohttp import web
from statefun import Context, IntType, Message, RequestReplyHandler, StatefulFunctions, ValueSpec
from statefun import kinesis_egress_message, make_json_type, message_builder

COMMAND = make_json_type("reminders.e2e/command")
REMINDERS = "reminders.e2e/reminders"
TALLY = "reminders.e2e/tally"

functions = StatefulFunctions()


def tell(context: Context, text: str):
    context.send_egress(
        kinesis_egress_message(
            typename="reminders.e2e/results", stream="results-stream", partition_key=context.address.id, value=text
        )
    )


@functions.bind(
    typename=REMINDERS,
    specs=[
        ValueSpec(name="asked", type=IntType),
        ValueSpec(name="rung", type=IntType),
        ValueSpec(name="session", type=IntType, expire_after_write=timedelta(seconds=30)),
    ],
)
def reminders(context: Context, message: Message):
    command = message.as_type(COMMAND)
    storage = context.storage
    if command["do"] == "remind":
        storage.asked = (storage.asked or 0) + 1
        ring = {"do": "ring", "n": command["n"]}
        myself = message_builder(target_typename=REMINDERS, target_id=context.address.id, value=ring, value_type=COMMAND)
        context.send_after(timedelta(milliseconds=command["after"]), myself, f"reminder-{command['n']}")
    elif command["do"] == "cancel":
        context.cancel_delayed_message(f"reminder-{command['n']}")
    elif command["do"] == "ring":
        storage.rung = (storage.rung or 0) + 1
        tell(context, f"rung {command['n']} {storage.rung}")
        context.send(
            message_builder(target_typename=TALLY, target_id=context.address.id, value=command, value_type=COMMAND)
        )
    elif command["do"] == "login":
        tell(context, f"login {command['n']} {storage.session or 'none'}")
        storage.session = command["n"]
    elif command["do"] == "look":
        tell(context, f"look {command['n']} asked {storage.asked or 0} rung {storage.rung or 0}")
        context.send(
            message_builder(target_typename=TALLY, target_id=context.address.id, value=command, value_type=COMMAND)
        )


@functions.bind(typename=TALLY, specs=[ValueSpec(name="count", type=IntType)])
def tally(context: Context, message: Message):
    command = message.as_type(COMMAND)
    if command["do"] == "ring":
        context.storage.count = (context.storage.count or 0) + 1
    else:
        tell(context, f"tally {command['n']} {context.storage.count or 0}")


handler = RequestReplyHandler(functions)


async def serve(request: web.Request) -> web.Response:
    answer = await handler.handle_async(await request.read())
    return web.Response(body=answer, content_type="application/octet-stream")


if __name__ == "__main__":
    app = web.Application(client_max_size=64 << 20)
    app.add_routes([web.post("/statefun", serve)])
    web.run_app(app, print=None, host="127.0.0.1", port=int(sys.argv[1]))
