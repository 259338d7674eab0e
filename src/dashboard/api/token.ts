/** The bearer token, in the session storage of this tab alone: never in a URL, and gone with the tab. */
const KEY = 'sluice-token';

/** null: there is none. */
export function readToken(): string | null {
  return sessionStorage.getItem(KEY);
}

export function keepToken(token: string | null): void {
  if (token === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token);
}
