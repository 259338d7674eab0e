/** Says that the connection is lost, and reads new problems out to a screen reader. */
import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { link, retryNow, sample } from '../api/feed.ts';
import { useStore } from '../api/store.ts';

export function Banner(): JSX.Element {
  const current = useStore(link);
  return (
    <>
      <div role="alert">
        {current.kind === 'lost' && (
          <div class="banner">
            <span>
              {current.message} What is shown is from before. <Countdown untilMs={current.retryAtMs} />
            </span>
            <button type="button" onClick={retryNow}>
              Try now
            </button>
          </div>
        )}
      </div>
      <Announcer />
    </>
  );
}

function Countdown({ untilMs }: { untilMs: number }): JSX.Element {
  const [nowMs, setNowMs] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNowMs(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, []);
  const seconds = Math.max(0, Math.ceil((untilMs - nowMs) / 1_000));
  // Not read out each second.
  return <span aria-hidden="true">Trying again in {seconds} s.</span>;
}

/** For a screen reader: a text that stayed would be the first of the page, long after it was true. */
const SAID_MS = 10_000;
const MOST_SAID = 3;

/** Only what begins and what ends is said: the list itself is on the overview. */
function Announcer(): JSX.Element {
  const problems = useStore(sample)?.problems;
  const known = useRef<ReadonlyMap<string, string>>(new Map());
  const [text, setText] = useState('');
  useEffect(() => {
    if (problems === undefined) return;
    const before = known.current;
    const now = new Map(problems.map((problem) => [problem.key, problem.text]));
    known.current = now;
    const news = [...sayOf('', now, before), ...sayOf('No longer: ', before, now)];
    if (news.length > 0 && now.size === 0) news.push('Nothing is wrong any more.');
    if (news.length > 0) setText(news.join(' '));
  }, [problems]);
  useEffect(() => {
    const timer = setTimeout(() => setText(''), SAID_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return (
    <p class="unseen" role="status" aria-label="News">
      {text}
    </p>
  );
}

/** What is in one set of problems, and not in the other. */
function sayOf(
  prefix: string,
  these: ReadonlyMap<string, string>,
  others: ReadonlyMap<string, string>,
): string[] {
  const texts = [...these].filter(([key]) => !others.has(key)).map(([, text]) => `${prefix}${text}.`);
  const left = texts.length - MOST_SAID;
  return left > 0 ? [...texts.slice(0, MOST_SAID), `${prefix}${left} more.`] : texts;
}
