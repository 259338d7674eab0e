/** The opening handshake of a WebSocket as text, always with the same key, as in web-socket-echo.c. */
export const OPENING_REQUEST = [
  ...['GET /echo HTTP/1.1', 'Host: bench', 'Connection: Upgrade', 'Upgrade: websocket'],
  ...['Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: c2x1aWNlLWJlbmNoLWtleQ==', '', ''],
].join('\r\n');

export const SWITCHING_ANSWER = [
  ...['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: websocket'],
  ...['Sec-WebSocket-Accept: n2ZGqNc7AIHfZhdL6MQavgzVNqk=', '', ''],
].join('\r\n');
