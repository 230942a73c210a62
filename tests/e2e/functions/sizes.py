"""Counts messages and tells their sizes, behind aiohttp's own limit of 1 MiB for a request: for the end-to-end cases.

python sizes.py PORT, with the packages of server/functions-python.txt
"""

import sys

from aiohttp import web
from statefun import Context, IntType, Message, RequestReplyHandler, StatefulFunctions, ValueSpec
from statefun import kinesis_egress_message, simple_type

BYTES = simple_type("sizes.e2e/bytes", serialize_fn=lambda value: value, deserialize_fn=lambda value: value)

functions = StatefulFunctions()


@functions.bind(typename="sizes.e2e/fn", specs=[ValueSpec(name="count", type=IntType)])
def count(context: Context, message: Message):
    context.storage.count = (context.storage.count or 0) + 1
    context.send_egress(
        kinesis_egress_message(
            typename="sizes.e2e/results",
            stream="results-stream",
            partition_key=context.address.id,
            value=f"{context.storage.count} {len(message.as_type(BYTES))}",
        )
    )


handler = RequestReplyHandler(functions)


async def serve(request: web.Request) -> web.Response:
    answer = await handler.handle_async(await request.read())
    return web.Response(body=answer, content_type="application/octet-stream")


if __name__ == "__main__":
    # No `client_max_size`: most people's server has none, and so rejects with 413 what is larger than 1 MiB.
    app = web.Application()
    app.add_routes([web.post("/statefun", serve)])
    web.run_app(app, print=None, host="127.0.0.1", port=int(sys.argv[1]))
