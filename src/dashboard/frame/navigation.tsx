import type { JSX } from 'preact';
import { sample } from '../api/feed.ts';
import { useStore } from '../api/store.ts';
import { PAGES } from './pages.ts';
import { hrefOf } from './place.ts';

export function Navigation({ current }: { current: string }): JSX.Element {
  const problemCount = useStore(sample)?.problems.length ?? 0;
  return (
    <nav aria-label="Pages">
      <ul>
        {PAGES.map(({ name, title }) => (
          <li key={name}>
            <a href={hrefOf(name)} aria-current={name === current ? 'page' : undefined}>
              {title}
              {name === '' && problemCount > 0 && <span class="count"> {problemCount}</span>}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}
