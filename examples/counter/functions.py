"""A counter for each key: it adds what it is sent, and tells each new total.

pip install --no-deps apache-flink-statefun==3.3.0
pip install "protobuf>=3.20" "aiohttp>=3.9"
python functions.py PORT, or python functions.py PATH.sock
"""

import sys

from aiohttp import web
from statefun import Context, LongType, Message, RequestReplyHandler, StatefulFunctions, ValueSpec
from statefun import kinesis_egress_message

functions = StatefulFunctions()


@functions.bind(typename="counter.kinesis/fn", specs=[ValueSpec(name="total", type=LongType)])
async def count(context: Context, message: Message):
    total = (context.storage.total or 0) + message.as_long()
    context.storage.total = total
    context.send_egress(
        kinesis_egress_message(
            typename="counter.kinesis/results",
            stream="counter.results",
            partition_key=context.address.id,
            value=str(total),
        )
    )


handler = RequestReplyHandler(functions)


async def serve(request: web.Request) -> web.Response:
    answer = await handler.handle_async(await request.read())
    return web.Response(body=answer, content_type="application/octet-stream")


if __name__ == "__main__":
    app = web.Application(client_max_size=64 << 20)
    app.add_routes([web.post("/statefun", serve)])
    where = sys.argv[1]
    place = {"path": where} if where.endswith(".sock") else {"host": "127.0.0.1", "port": int(where)}
    web.run_app(app, print=None, **place)
