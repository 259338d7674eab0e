/** Components that show what a call answered: waiting, failed, or the answer. */
import type { ComponentChildren, JSX } from 'preact';
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { ConfigAnswer } from '../api/answers.ts';
import { CallError, call, messageOf } from '../api/call.ts';
import { hidden } from '../api/hidden.ts';
import { status } from '../api/status.ts';
import { useStore } from '../api/store.ts';

export interface Answered<T> {
  /** null: none has come yet. */
  answer: T | null;
  /** Of the last try; null: it has not failed. */
  failure: string | null;
  /** The last try was answered with 404. */
  isMissing: boolean;
  reload(): void;
}

/**
 * useAnswer calls once, and every everyMs where that is given and somebody sees this tab. An answer stays while a later try fails.
 * @param about another value: it is asked again
 */
export function useAnswer<T>(path: string, everyMs: number | null = null, about?: unknown): Answered<T> {
  const [answer, setAnswer] = useState<T | null>(null);
  const [failure, setFailure] = useState<Error | null>(null);
  const [round, setRound] = useState(0);
  const pathShown = useRef(path);
  const isPaused = useStore(hidden) && everyMs !== null;
  useEffect(() => {
    if (isPaused) return;
    const ended = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    if (pathShown.current !== path) setAnswer(null);
    pathShown.current = path;
    const ask = async (): Promise<void> => {
      try {
        setAnswer(await call<T>(path, { signal: ended.signal }));
        setFailure(null);
      } catch (error) {
        if (ended.signal.aborted) return;
        setFailure(error instanceof Error ? error : new Error(messageOf(error)));
      }
      if (everyMs !== null && !ended.signal.aborted) timer = setTimeout(() => void ask(), everyMs);
    };
    void ask();
    return () => {
      ended.abort();
      clearTimeout(timer);
    };
  }, [path, everyMs, round, about, isPaused]);
  return {
    answer,
    failure: failure?.message ?? null,
    isMissing: failure instanceof CallError && failure.status === 404,
    reload: useCallback(() => setRound((last) => last + 1), []),
  };
}

/** useConfig asks about the configuration, again with each revision and each connection: what runs then may be another one. */
export function useConfig<T = ConfigAnswer>(path = '/api/v1/config'): Answered<T> {
  return useAnswer<T>(path, null, useStore(status));
}

interface AnswerProps<T> {
  of: Answered<T>;
  children(answer: T): ComponentChildren;
}

/** Answer shows the failure above the last answer, if there is one. */
export function Answer<T>({ of: { answer, failure, reload }, children }: AnswerProps<T>): JSX.Element {
  return (
    <>
      {failure !== null && (
        <p class="failure" role="alert">
          {failure}{' '}
          <button type="button" onClick={reload}>
            Try again
          </button>
        </p>
      )}
      {answer !== null ? children(answer) : failure === null && <p class="empty">Loading …</p>}
    </>
  );
}
