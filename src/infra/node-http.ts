/**
 * node:http for whoever uses it in a process of ours. An import of 'node:http' makes node look at each of its exports, and
 * one of them, WebSocket, loads undici then: 15 MiB and 65 ms of CPU that nobody here has a use for.
 */
export const http = process.getBuiltinModule('node:http');
