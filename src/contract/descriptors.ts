/** The descriptors that a process of Sluice is started with, behind the standard streams. */

/** The channel to the process that started it. */
export const CHANNEL_FD = 3;
/** The first of the sockets that it inherits. */
export const FIRST_INHERITED_FD = 4;
