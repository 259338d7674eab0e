/** The block `acme` of the configuration, and the names whose certificates it fetches. */
import { z } from 'zod';
import { isHostName, type Parsed } from './addresses.ts';
import * as Key from './fields.ts';

/** Each has an order of its own; authorities refuse more in a short time. */
const MAX_NAMES = 100;

function parseDirectory(raw: string): Parsed<string> {
  const url = URL.parse(raw);
  const usable = url?.protocol === 'https:' && url.hostname !== '' && url.username === '' && url.hash === '';
  return usable ? { value: raw } : { message: 'must be a URL like https://ca.example/directory' };
}

function parseName(raw: string): Parsed<string> {
  if (raw.startsWith('*'))
    return {
      message: 'must be a single name: an authority proves *.names by DNS alone, which Sluice does not do',
    };
  if (!isHostName(raw) || raw.includes('_') || raw.endsWith('.'))
    return { message: 'must be a host name like www.example.com' };
  return { value: raw.toLowerCase() };
}

/** acmeNamesSchema is the key `acme` of `listen[].tls`. */
export const acmeNamesSchema = Key.list(Key.text('host name', '', parseName), {
  type: 'list of host names',
  meaning: `Names whose certificates are fetched and renewed with the block \`acme\`, at most ${MAX_NAMES}. No wildcards.`,
  fallback: 'empty',
})
  .refine((names) => names.length <= MAX_NAMES, `must have at most ${MAX_NAMES} names`)
  .prefault([]);

/** acmeSchema is the block. */
export const acmeSchema = Key.block(
  'An authority that issues certificates by ACME (RFC 8555), for the names in `listen[].tls.acme`. It asks for a proof at port 80 of each name (HTTP-01), which every worker of every machine answers that shares `database.url`.',
  {
    directory: Key.text('URL', "The authority's directory; there is no default.", parseDirectory, {
      range: '`https://…`, such as `https://acme-v02.api.letsencrypt.org/directory`',
    }),
    email: Key.text(
      'address',
      'The contact that the authority is told.',
      Key.matching(
        /^[^\s@<>,;:"()?&%]{1,64}@[^\s@<>,;:"()?&%]{1,189}$/,
        'must be a mail address like ops@example.com',
      ),
    ).optional(),
    agreeToTerms: Key.described(
      z.literal(
        true,
        Key.saying("must be true, which says that you agree to the authority's terms of service"),
      ),
      { type: '`true`', meaning: "You agree to the authority's terms of service." },
    ),
    storage: Key.text(
      'path',
      "Folder (0700) of the account's key and of the certificates with their keys (0600), for each authority a folder of its own. With `database.url` they are in the database too, for all machines.",
      Key.parsePath,
    ).prefault('./data/acme'),
    ca: Key.pemPathOrNone(
      "Authorities that may have signed the directory's own certificate.",
      'those that Node.js trusts',
    ),
  },
  '0.6',
);
