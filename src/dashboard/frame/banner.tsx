/** Says that the connection is lost, and reads new problems out to a screen reader. */
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
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

/** Only what is new is said: the list itself is on the overview. */
function Announcer(): JSX.Element {
  const problems = useStore(sample)?.problems;
  const [text, setText] = useState('');
  const [known, setKnown] = useState<readonly string[]>([]);
  useEffect(() => {
    if (problems === undefined) return;
    const keys = problems.map(({ code, text: sentence }) => `${code} ${sentence}`);
    const fresh = problems.filter((_, index) => !known.includes(keys[index] ?? ''));
    if (fresh.length > 0) setText(fresh.map((problem) => problem.text).join(' '));
    else if (problems.length === 0 && known.length > 0) setText('Nothing is wrong any more.');
    if (keys.join() !== known.join()) setKnown(keys);
  }, [problems]);
  return (
    <p class="unseen" role="status" aria-label="News">
      {text}
    </p>
  );
}
