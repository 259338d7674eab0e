import type { JSX } from 'preact';
import type { Tones } from '../../contract/tones.ts';

export type Tone = 'ok' | 'warn' | 'bad' | 'quiet';

/** Of the words that mean the same wherever they are shown: states of backends and workers, overload, severities. */
const TONES: Record<string, Tone> = {
  ...{ up: 'ok', serving: 'ok', warning: 'warn', error: 'bad' },
  ...({
    ...{ down: 'bad', ejected: 'bad', draining: 'warn', unknown: 'warn', starting: 'warn' },
    ...{ softened: 'warn', shedding: 'bad' },
  } satisfies Tones),
};

/** Status says how something is, by colour and by word. @param tone default: that of the word */
export function Status({ word, tone = TONES[word] ?? 'quiet' }: { word: string; tone?: Tone }): JSX.Element {
  return <span class={`status ${tone}`}>{word}</span>;
}
