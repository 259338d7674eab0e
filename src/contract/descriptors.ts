/** The descriptors that a process of Sluice is started with, behind the standard streams. */

/** The channel to the process that started it. */
export const CHANNEL_FD = 3;
/** The first of the sockets that it inherits. */
export const FIRST_INHERITED_FD = 4;
/** The environment variable that tells worker/give-sockets.ts how many sockets it has inherited. */
export const GIVEN_COUNT = 'SLUICE_GIVEN_SOCKETS';
