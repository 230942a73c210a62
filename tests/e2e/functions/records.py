"""Sends what it is told to an egress, valid or not: for the end-to-end cases.

python records.py PORT, with the packages of server/functions-python.txt
"""

import sys

from aiohttp import web
from statefun import Context, Message, RequestReplyHandler, StatefulFunctions
from statefun import kinesis_egress_message, make_json_type

COMMAND = make_json_type("records.e2e/command")

functions = StatefulFunctions()


@functions.bind(typename="records.e2e/fn")
def send(context: Context, message: Message):
    for record in message.as_type(COMMAND):
        context.send_egress(kinesis_egress_message(typename="records.e2e/results", **record))


handler = RequestReplyHandler(functions)


async def serve(request: web.Request) -> web.Response:
    answer = await handler.handle_async(await request.read())
    return web.Response(body=answer, content_type="application/octet-stream")


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.post("/statefun", serve)])
    web.run_app(app, print=None, host="127.0.0.1", port=int(sys.argv[1]))
