// Loaded before kinesis-mock (node --require), which would listen on every interface and has no setting for it.
"use strict";

const { Server } = require("node:net");

const LOOPBACK = "127.0.0.1";
const listen = Server.prototype.listen;

Server.prototype.listen = function (first, ...rest) {
  if (first !== null && typeof first === "object") {
    return listen.call(this, { ...first, host: LOOPBACK }, ...rest);
  }
  const afterHost = typeof rest[0] === "string" ? rest.slice(1) : rest;
  return listen.call(this, first, LOOPBACK, ...afterHost);
};
