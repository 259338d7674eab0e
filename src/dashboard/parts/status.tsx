import type { JSX } from 'preact';

export type Tone = 'ok' | 'warn' | 'bad' | 'quiet';

/** Status says how something is, by colour and by word. */
export function Status({ tone, word }: { tone: Tone; word: string }): JSX.Element {
  return <span class={`status ${tone}`}>{word}</span>;
}
