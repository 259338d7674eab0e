/** A set of address ranges, such as the proxies that are trusted. */
import { BlockList, isIP } from 'node:net';
import { UNIX_PEER } from '../contract/addresses.ts';

const FULL_BITS = { ipv4: 32, ipv6: 128 };

/** AddressRanges is made with each list in the settings. */
export class AddressRanges {
  /** A list for each family: in a BlockList `::/64` has all of IPv4, as mapped addresses. */
  readonly #lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  readonly #isEmpty: boolean;
  readonly #hasUnix: boolean;

  /** @param cidrs canonical; `unix:` stands for all peers on Unix sockets */
  constructor(cidrs: readonly string[]) {
    this.#hasUnix = cidrs.includes(UNIX_PEER);
    const ranges = cidrs.filter((cidr) => cidr !== UNIX_PEER);
    this.#isEmpty = ranges.length === 0;
    for (const cidr of ranges) {
      const [address = '', prefix] = cidr.split('/');
      const family = familyOf(address);
      this.#lists[family].addSubnet(
        address,
        prefix === undefined ? FULL_BITS[family] : Number(prefix),
        family,
      );
    }
  }

  /** has: whether an address is in one of them. @param address canonical, or UNIX_PEER */
  has(address: string): boolean {
    if (address === UNIX_PEER) return this.#hasUnix;
    // The check leaves JavaScript.
    if (this.#isEmpty) return false;
    const family = familyOf(address);
    return this.#lists[family].check(address, family);
  }
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}
