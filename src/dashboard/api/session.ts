/** Who uses the dashboard: nobody yet, or somebody whose token may write, or read. */
import type { Access, SessionAnswer } from './answers.ts';
import { CallError, call, messageOf, whenUnauthorized } from './call.ts';
import { Store, useStore } from './store.ts';
import { keepToken, readToken } from './token.ts';

export type Session =
  | { kind: 'starting' }
  /** Sluice did not answer, or has too much to do; resume() tries again. */
  | { kind: 'unreachable'; message: string }
  | { kind: 'signed-out'; notice: string | null }
  | { kind: 'signed-in'; access: Access; tokenNeeded: boolean };

export const session = new Store<Session>({ kind: 'starting' });

whenUnauthorized(() => {
  if (session.value.kind === 'signed-in') signOut('The token is not accepted any more. Sign in again.');
});

/** resume begins with the token of this tab, if it has one; main.tsx calls it. */
export async function resume(): Promise<void> {
  const hadToken = readToken() !== null;
  try {
    await open();
  } catch (error) {
    if (!(error instanceof CallError) || error.status === 0 || error.status >= 500)
      session.set({ kind: 'unreachable', message: messageOf(error) });
    else if (error.status === 401)
      signOut(hadToken ? 'The token is not accepted any more. Sign in again.' : null);
    else session.set({ kind: 'signed-out', notice: error.message });
  }
}

/** signIn rejects with CallError: 401 for a wrong token, 429 after too many of them. */
export async function signIn(token: string): Promise<void> {
  keepToken(token);
  try {
    await open();
  } catch (error) {
    keepToken(null);
    throw error;
  }
}

export function signOut(notice: string | null): void {
  keepToken(null);
  session.set({ kind: 'signed-out', notice });
}

async function open(): Promise<void> {
  const answer = await call<SessionAnswer>('/api/v1/session');
  session.set({ kind: 'signed-in', ...answer });
}

/** useMayWrite is false where the token may only read: buttons that change something are disabled then. */
export function useMayWrite(): boolean {
  const current = useStore(session);
  return current.kind === 'signed-in' && current.access === 'write';
}
