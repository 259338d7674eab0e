/** Which page is shown: the fragment of the URL, `#/clients/acme`. It never holds the token. */
import { Store } from '../api/store.ts';

export interface Place {
  page: string;
  /** What follows the page, decoded; empty: nothing. */
  subject: string;
}

function current(): Place {
  const [page = '', ...rest] = location.hash.replace(/^#\/?/, '').split('/');
  return { page, subject: decode(rest.join('/')) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) return text;
    throw error;
  }
}

export const place = new Store<Place>(current());
addEventListener('hashchange', () => place.set(current()));

/** hrefOf is the link to a page, and to a thing on it. */
export function hrefOf(page: string, subject = ''): string {
  return subject === '' ? `#/${page}` : `#/${page}/${encodeURIComponent(subject)}`;
}
