import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { CallError, messageOf } from '../api/call.ts';
import { signIn } from '../api/session.ts';
import { ThemeChoice } from './header.tsx';

export function Login({ notice }: { notice: string | null }): JSX.Element {
  const [token, setToken] = useState('');
  const [message, setMessage] = useState(notice);
  const [waitSec, setWaitSec] = useState(0);
  const [busy, setBusy] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => {
    document.title = 'Sign in – Sluice';
    input.current?.focus();
  }, []);
  useEffect(() => {
    const timer = waitSec > 0 ? setTimeout(() => setWaitSec(waitSec - 1), 1_000) : null;
    return () => void (timer !== null && clearTimeout(timer));
  }, [waitSec]);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await signIn(token.trim());
    } catch (error) {
      if (error instanceof CallError && error.retryAfterSec !== null) setWaitSec(error.retryAfterSec);
      setMessage(refusalOf(error));
      setBusy(false);
      input.current?.select();
    }
  };
  return (
    <main class="alone">
      <form onSubmit={(event) => void submit(event)}>
        <h1>Sluice</h1>
        <label>
          Admin token
          <input
            ref={input}
            type="password"
            name="token"
            autocomplete="current-password"
            required
            maxLength={512}
            value={token}
            aria-describedby="login-message"
            onInput={({ currentTarget }) => setToken(currentTarget.value)}
          />
        </label>
        <p id="login-message" class="bad" role="alert">
          {message}
          {waitSec > 0 && ` Wait ${waitSec} s before you try another one.`}
        </p>
        <button class="primary" type="submit" disabled={busy}>
          Sign in
        </button>
        <p class="hint">
          The value of <code>admin.token</code>, or of <code>admin.readToken</code> to look without changing
          anything. It is kept until this tab is closed.
        </p>
        <ThemeChoice />
      </form>
    </main>
  );
}

function refusalOf(error: unknown): string {
  if (error instanceof CallError && error.status === 401) return 'This token is wrong.';
  if (error instanceof CallError && error.status === 429)
    return 'Too many wrong tokens came from your address.';
  return messageOf(error);
}
