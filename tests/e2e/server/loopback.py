"""Starts LocalStack with its gateway on the loopback interface only.

LocalStack 4.14 parses the host of GATEWAY_LISTEN but opens IPv4 ports on every interface, so the
interface is set where Twisted opens the port.
"""

import functools
import runpy

from twisted.internet import endpoints

endpoints.TCP4ServerEndpoint = functools.partial(
    endpoints.TCP4ServerEndpoint, interface="127.0.0.1"
)
runpy.run_module("localstack.runtime.main", run_name="__main__", alter_sys=True)
