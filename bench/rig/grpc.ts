/** The unary gRPC call of the bench: the same message there and back. */
export const GRPC_PATH = '/bench.Echo/Say';

/** Not compressed, the length, 32 bytes of content. */
export const GRPC_MESSAGE = Buffer.from([0, 0, 0, 0, 32, ...Buffer.alloc(32, 'x')]);
