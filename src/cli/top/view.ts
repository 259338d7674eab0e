/** The live view of `sluice top`, in the whole terminal. Only top.ts loads this file. */
import { emitKeypressEvents, type Key } from 'node:readline';
import { styleText } from 'node:util';
import { createLogUpdate } from 'log-update';
import { printable } from '../../contract/json-text.ts';
import type { AdminTarget } from '../admin-client.ts';
import { sectionsOf } from '../screen.ts';
import { type Line, linesOf, type Section } from '../table.ts';
import { follow, type Look } from './follow.ts';

/** Rows of each table on the first screen, where all are shown; a tab shows one of them whole. */
const SHORT_ROWS = 6;
const KEYS = 'q quit  p pause  tab next table  ↑ ↓ scroll';
/** The alternate screen of xterm, which nearly all terminals know: what was there before comes back. */
const ENTER_SCREEN = '\u001b[?1049h\u001b[H';
const LEAVE_SCREEN = '\u001b[?1049l';

/** showTop resolves when the user or a signal ends it. Rejects when the admin port cannot be reached at the start, or refuses. */
export async function showTop(target: AdminTarget): Promise<void> {
  const { stdin, stdout } = process;
  const ended = new AbortController();
  const end = (): void => ended.abort();
  const screen = new TopScreen(target.url, end);
  const draw = (): void => screen.draw();
  const press = (text: string | undefined, key: Key): void => screen.press(text ?? '', key);
  emitKeypressEvents(stdin);
  stdin.setRawMode(true).resume().on('keypress', press);
  stdout.on('resize', draw);
  // The screen is given back however this ends.
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.once(signal, end);
  stdout.write(ENTER_SCREEN);
  draw();
  try {
    const events = {
      onLook: (look: Look) => screen.show(look),
      onLost: (error: Error) => screen.lose(error),
    };
    await follow(target, events, ended.signal);
  } finally {
    stdout.off('resize', draw);
    stdin.off('keypress', press).setRawMode(false).pause();
    screen.close();
    stdout.write(LEAVE_SCREEN);
  }
}

/** TopScreen is what is seen: a look, or a frozen one; all tables in short, or one of them from some row on. */
class TopScreen {
  readonly #url: string;
  readonly #onQuit: () => void;
  readonly #update = createLogUpdate(process.stdout);
  #look: Look | null = null;
  #frozen: Look | null = null;
  #lost: string | null = null;
  /** 0: the beginning of every table; from 1 on: one table whole. */
  #tab = 0;
  #offset = 0;

  constructor(url: string, onQuit: () => void) {
    this.#url = url;
    this.#onQuit = onQuit;
  }

  show(look: Look): void {
    this.#look = look;
    this.#lost = null;
    this.draw();
  }

  lose(error: Error): void {
    this.#lost = error.message;
    this.draw();
  }

  /** close shows the cursor again. */
  close(): void {
    this.#update.done();
  }

  press(text: string, { name, ctrl, shift }: Key): void {
    const page = this.#height;
    if (text === 'q' || (ctrl && name === 'c')) this.#onQuit();
    else if (text === 'p' || text === ' ') this.#frozen = this.#frozen === null ? this.#look : null;
    else if (name === 'tab') this.#turn(shift ? -1 : 1);
    else if (name === 'left' || name === 'right') this.#turn(name === 'left' ? -1 : 1);
    else if (name === 'up' || name === 'down') this.#offset += name === 'up' ? -1 : 1;
    else if (name === 'pageup' || name === 'pagedown') this.#offset += name === 'pageup' ? -page : page;
    this.draw();
  }

  #turn(by: number): void {
    const tabs = this.#sections().length + 1;
    this.#tab = (this.#tab + by + tabs) % tabs;
    this.#offset = 0;
  }

  #sections(): Section[] {
    const look = this.#frozen ?? this.#look;
    return look === null ? [] : sectionsOf(look.sample, look.senders);
  }

  /** Rows between the head and the keys. The last row stays empty, or the terminal would scroll. */
  get #height(): number {
    return Math.max(1, process.stdout.rows - 3);
  }

  draw(): void {
    // A terminal that tells no size has 0 columns, at which log-update would wrap.
    process.stdout.columns ||= 80;
    process.stdout.rows ||= 24;
    const { columns } = process.stdout;
    const body = this.#body(columns);
    const last = Math.max(0, body.length - this.#height);
    this.#offset = Math.max(0, Math.min(last, this.#offset));
    const shown = body.slice(this.#offset, this.#offset + this.#height);
    while (shown.length < this.#height) shown.push({ text: '', tone: null });
    const range = `  (${this.#offset + 1}–${this.#offset + this.#height} of ${body.length})`;
    const keys: Line = { text: last > 0 ? KEYS + range : KEYS, tone: 'dim' };
    this.#update([this.#head(), ...shown, keys].map((line) => styled(line, columns)).join('\n'));
  }

  #head(): Line {
    const time = new Date().toLocaleTimeString('en-GB');
    const text = `sluice top  ${this.#url}  ${time}`;
    if (this.#lost !== null) return { text: `${text}  lost: ${printable(this.#lost)}`, tone: 'bad' };
    return { text: this.#frozen === null ? text : `${text}  paused`, tone: 'title' };
  }

  #body(columns: number): Line[] {
    const sections = this.#sections();
    if (sections.length === 0) return [{ text: 'waiting for the first sample', tone: 'dim' }];
    const only = sections[this.#tab - 1];
    if (only !== undefined) return linesOf(only, printable, columns);
    return sections.flatMap((section) => {
      const rows = section.rows.slice(0, SHORT_ROWS);
      const left = section.rows.length - rows.length;
      const more: Line[] = left > 0 ? [{ text: `… ${left} more (tab)`, tone: 'dim' }] : [];
      return [...linesOf({ ...section, rows }, printable, columns), ...more];
    });
  }
}

const STYLES = { bad: ['red', 'bold'], warn: ['yellow'], title: ['bold'], dim: ['dim'] } as const;

/** styleText keeps to NO_COLOR and FORCE_COLOR. */
function styled({ text, tone }: Line, columns: number): string {
  const cut = text.length > columns ? `${text.slice(0, columns - 1)}…` : text;
  return tone === null ? cut : styleText(STYLES[tone], cut, { stream: process.stdout });
}
