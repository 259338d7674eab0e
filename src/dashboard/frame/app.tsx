/** The frame: who is signed in decides between the login and the pages. */
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { resume, session } from '../api/session.ts';
import { useStore } from '../api/store.ts';
import { Banner } from './banner.tsx';
import { Header } from './header.tsx';
import { Login } from './login.tsx';
import { Navigation } from './navigation.tsx';
import { PAGES } from './pages.ts';
import { place } from './place.ts';

export function App(): JSX.Element {
  const current = useStore(session);
  if (current.kind === 'signed-in') return <Shell />;
  if (current.kind === 'signed-out') return <Login notice={current.notice} />;
  return <Waiting message={current.kind === 'unreachable' ? current.message : null} />;
}

const RETRY_MS = 3_000;

/** Sluice has not said yet whether a token is needed. */
function Waiting({ message }: { message: string | null }): JSX.Element {
  useEffect(() => {
    const timer = setInterval(() => void (message !== null && resume()), RETRY_MS);
    return () => clearInterval(timer);
  }, [message]);
  return (
    <main class="alone">
      <h1>Sluice</h1>
      <p role="status">{message === null ? 'Loading …' : `${message} Trying again …`}</p>
    </main>
  );
}

function Shell(): JSX.Element {
  const { page: name, subject } = useStore(place);
  const page = PAGES.find((each) => each.name === name);
  const heading = useRef<HTMLHeadingElement>(null);
  const isFirst = useRef(true);
  const title = page?.title ?? 'No such page';
  useEffect(() => {
    document.title = `${title} – Sluice`;
    // The first page leaves the focus where the browser puts it.
    if (!isFirst.current) heading.current?.focus();
    isFirst.current = false;
  }, [title]);
  return (
    <div class="shell">
      <button type="button" class="skip" onClick={() => heading.current?.focus()}>
        Skip to the page
      </button>
      <Header />
      <Navigation current={name} />
      <main id="main">
        <Banner />
        <h1 ref={heading} tabIndex={-1}>
          {title}
        </h1>
        {page === undefined ? (
          <p>The navigation lists all pages.</p>
        ) : (
          <page.Body key={page.name} subject={subject} />
        )}
      </main>
    </div>
  );
}
