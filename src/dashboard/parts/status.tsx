import type { JSX } from 'preact';

export type Tone = 'ok' | 'warn' | 'bad' | 'quiet';

/** Of the words that mean the same wherever they are shown: states of backends and workers, overload, severities. */
const TONES: Record<string, Tone> = {
  ...{ up: 'ok', serving: 'ok' },
  ...{ draining: 'warn', warning: 'warn' },
  ...{ down: 'bad', ejected: 'bad', softened: 'bad', shedding: 'bad', error: 'bad' },
};

/** Status says how something is, by colour and by word. @param tone default: that of the word */
export function Status({ word, tone = TONES[word] ?? 'quiet' }: { word: string; tone?: Tone }): JSX.Element {
  return <span class={`status ${tone}`}>{word}</span>;
}
