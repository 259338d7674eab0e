/** Where a redirect to https sends a client. */
import type { ListenSettings } from '../contract/settings.ts';

const HTTP_PORT = 80;
const HTTPS_PORT = 443;
const PORT = /:(\d{1,5})$/;

/** HttpsLocation makes the value of `Location`; each plan has one. */
export class HttpsLocation {
  /** Ports without TLS. */
  readonly #plainPorts: ReadonlySet<number>;
  /** `:8443`; '' for 443, and where nobody knows the port. */
  readonly #securePort: string;

  constructor(listen: readonly ListenSettings[]) {
    const portsOf = (secure: boolean): number[] =>
      listen.flatMap((each) => (each.kind === 'tcp' && (each.tls !== null) === secure ? each.port : []));
    this.#plainPorts = new Set(portsOf(false));
    const [first = HTTPS_PORT, ...others] = portsOf(true);
    const isDefault = first === 0 || [first, ...others].includes(HTTPS_PORT);
    this.#securePort = isDefault ? '' : `:${first}`;
  }

  /**
   * of is called for an admitted request. A client that came to a port of ours is sent to a port of ours. Another port stands for a
   * mapping of ports in front of Sluice, as of a container, where https is expected at 443.
   *
   * @param host a valid value of Host
   * @param target in origin-form, or `*`
   */
  of(host: string, target: string): string {
    const port = PORT.exec(host);
    const name = port === null ? host : host.slice(0, port.index);
    const isOurs = this.#plainPorts.has(port === null ? HTTP_PORT : Number(port[1]));
    // RFC 9112 §3.2.4: `*` is the empty path of an absolute URL.
    return `https://${name}${isOurs ? this.#securePort : ''}${target === '*' ? '' : target}`;
  }
}
