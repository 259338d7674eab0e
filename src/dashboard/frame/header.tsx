import type { JSX } from 'preact';
import { link, sample } from '../api/feed.ts';
import { session, signOut } from '../api/session.ts';
import { status } from '../api/status.ts';
import { useStore } from '../api/store.ts';
import { Status, type Tone } from '../parts/status.tsx';
import { chooseTheme, THEMES, type Theme, theme } from './theme.ts';

const LINKS: Record<string, [tone: Tone, word: string]> = {
  live: ['ok', 'live'],
  draining: ['warn', 'draining'],
  connecting: ['quiet', 'connecting'],
  lost: ['bad', 'disconnected'],
};

export function Header(): JSX.Element {
  const facts = useStore(status);
  const current = useStore(session);
  const { kind } = useStore(link);
  const isDraining = useStore(sample)?.phase === 'draining' && kind === 'live';
  const [tone, word] = LINKS[isDraining ? 'draining' : kind] ?? ['quiet', ''];
  const isReader = current.kind === 'signed-in' && current.access === 'read';
  return (
    <header class="top">
      <a class="brand" href="#/">
        Sluice
      </a>
      <span class="facts">{facts !== null && `${facts.instance} · version ${facts.version}`}</span>
      <span class="grow" />
      {isReader && <span class="tag">read only</span>}
      <Status tone={tone} word={word} />
      <ThemeChoice />
      {current.kind === 'signed-in' && current.tokenNeeded && (
        <button type="button" onClick={() => signOut(null)}>
          Sign out
        </button>
      )}
    </header>
  );
}

const THEME_WORDS: Record<Theme, string> = { auto: 'As the system', light: 'Light', dark: 'Dark' };

export function ThemeChoice(): JSX.Element {
  const current = useStore(theme);
  return (
    <select
      aria-label="Colours"
      value={current}
      onChange={({ currentTarget }) => chooseTheme(currentTarget.value as Theme)}
    >
      {THEMES.map((each) => (
        <option key={each} value={each}>
          {THEME_WORDS[each]}
        </option>
      ))}
    </select>
  );
}
