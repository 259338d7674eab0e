/**
 * Where a worker accepts connections, and when. Its states:
 *
 * listening  at every address of the settings in force. open() begins it, follow() goes over to those of a later revision.
 * paused     at no address that has a spare socket: connections wait in its queue. Of those that the primary deals, one more is taken.
 *            DescriptorRoom calls #pause before descriptors run out, and #resume once there is room again.
 * ending     at every address, without spare sockets, and never paused again. keepAccepting() begins it: main.ts calls it before the
 *            worker serves on without a primary, endDeal() when a drain is about to close the listeners. InboundServer closes them.
 */
import type { Socket } from 'node:net';
import { toError } from '../contract/errors.ts';
import type { WorkerMessage } from '../contract/messages.ts';
import type { ListenSettings } from '../contract/settings.ts';
import { DescriptorRoom, type DescriptorRoomOptions } from './descriptor-room.ts';
import type { InboundServer } from './inbound/server.ts';

interface ListeningOptions extends Omit<DescriptorRoomOptions, 'server' | 'pause' | 'hasSpare' | 'resume'> {
  server: InboundServer;
  /** Those of the settings in force, by addressesByKey. */
  addresses: () => ReadonlyMap<string, ListenSettings>;
  /** As in DataPlaneOptions. */
  sockets: Map<string, Socket[]>;
  send: (message: WorkerMessage) => boolean;
}

/** Listening is made by the data plane; it expects connections from then on, which the primary may deal before open(). */
export class Listening {
  readonly #options: ListeningOptions;
  readonly #room: DescriptorRoom;
  /** Resolves once the primary deals no further connection. */
  readonly #dealEnded = Promise.withResolvers<void>();
  /** Resolves when all listeners are open and closed as asked; never rejects. */
  #changed: Promise<void> = Promise.resolve();
  /** Whether the primary waits to hear that a dealt connection was taken. */
  #hasUntaken = false;

  constructor(options: ListeningOptions) {
    this.#options = options;
    const { server, sockets } = options;
    this.#room = new DescriptorRoom({
      ...options,
      pause: () => this.#pause(),
      hasSpare: () => [...sockets].every(([key, { length }]) => length > 1 || server.listensAt(key)),
      resume: () => this.#resume(),
    });
    server.expect(options.addresses());
  }

  /** open opens every address once `ready` has resolved. Throws LbError listen_failed. */
  open(ready: Promise<void>): Promise<void> {
    const opened = ready.then(() => this.#openListeners());
    // Who called hears of a failure.
    this.#changed = opened.catch(() => undefined);
    return opened;
  }

  /** follow is called when other settings are in force. Resolves when it listens where they say; never rejects. */
  follow(): Promise<void> {
    const { server, addresses } = this.#options;
    server.expect(addresses());
    return this.#changeListeners();
  }

  /** opened is called with each accepted connection, and before one to a backend is opened. */
  opened(): void {
    this.#room.opened();
  }

  /** take is called with each connection that the primary deals. @param connection null: it was lost on the way */
  take(address: string, connection: Socket | null): void {
    if (connection !== null) this.#options.server.take(address, connection);
    if (this.#room.paused) this.#hasUntaken = true;
    else this.#options.send({ type: 'connection-taken' });
  }

  /** endDeal is called when the listeners are about to close. Resolves once the primary deals no further connection. */
  async endDeal(): Promise<void> {
    this.#options.send({ type: 'no-more-connections' });
    await this.keepAccepting();
    await this.#dealEnded.promise;
  }

  /** dealEnded is called when the primary says so, or is gone. */
  dealEnded(): void {
    this.#dealEnded.resolve();
  }

  /** keepAccepting ends all pauses. A spare socket that stayed open after the listeners would hold connections that nobody accepts. */
  async keepAccepting(): Promise<void> {
    await this.#room.end();
    this.#dropSockets(() => true);
  }

  /** listenFds are the descriptors of its listening sockets. */
  listenFds(): number[] {
    return this.#options.server.listenFds();
  }

  /** Accepts nothing at the addresses that have a spare socket. */
  #pause(): void {
    const { server, sockets, send } = this.#options;
    server.pauseListening((key) => (sockets.get(key)?.length ?? 0) > 0);
    // Before it accepts again, so that it can pause again at once.
    send({ type: 'spare-sockets' });
  }

  /** Accepts again, at the spare sockets. */
  #resume(): Promise<void> {
    if (this.#hasUntaken) this.#options.send({ type: 'connection-taken' });
    this.#hasUntaken = false;
    return this.#changeListeners();
  }

  #changeListeners(): Promise<void> {
    this.#changed = this.#changed
      .then(() => this.#openListeners())
      .catch((thrown: unknown) =>
        this.#options.logger.error({ err: toError(thrown) }, 'the listeners cannot all be changed'),
      );
    return this.#changed;
  }

  /** Opens what is new, then closes what is gone, so that those who wait there are served. */
  async #openListeners(): Promise<void> {
    const { server, addresses, sockets, send } = this.#options;
    const wanted = addresses();
    for (const [key, address] of wanted) {
      if (this.#room.paused || server.listensAt(key)) continue;
      const socket = sockets.get(key)?.shift();
      if (socket !== undefined) await server.listen(address, key, socket);
    }
    this.#dropSockets((key) => !wanted.has(key));
    if ([...wanted.keys()].some((key) => server.listensAt(key) && !sockets.get(key)?.length))
      send({ type: 'spare-sockets' });
    await server.closeGone();
  }

  #dropSockets(isUnwanted: (key: string) => boolean): void {
    const { sockets } = this.#options;
    for (const [key, held] of sockets) {
      if (!isUnwanted(key)) continue;
      for (const socket of held) socket.destroy();
      sockets.delete(key);
    }
  }
}
