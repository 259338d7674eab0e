/** A progress bar below the lines that a long command prints; where standard error is no terminal there are only the lines. */
import { MultiBar, Presets } from 'cli-progress';

/** Progress is for commands that take longer than two seconds: `sluice migrate`, and the benches and simulations of this project. */
export interface Progress {
  /** Says what is done now, as the next of all steps. @param total from now on, where it was not known */
  begin(what: string, total?: number): void;
  /** A line above the bar, on standard output. */
  say(line: string): void;
  /** Removes the bar. */
  stop(): void;
}

const FORMAT = '{bar} {value} of {total} done, {duration_formatted}  {what}';
/** The time goes on while a step lasts. */
const DRAWS_PER_SEC = 2;

/**
 * startProgress shows a bar of `total` steps. The caller stops it, also after a failure; twice does no harm.
 * @param what is done before the first step
 */
export function startProgress(total: number, what = ''): Progress {
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  if (!process.stderr.isTTY) return { begin: () => undefined, say, stop: () => undefined };
  const options = {
    format: FORMAT,
    fps: DRAWS_PER_SEC,
    clearOnComplete: true,
    linewrap: null,
    gracefulExit: false,
  };
  const bars = new MultiBar({ ...options, stream: process.stderr, barsize: 24 }, Presets.shades_classic);
  const bar = bars.create(total, 0, { what });
  let begun = 0;
  let isStopped = false;
  return {
    begin: (step, newTotal) => {
      if (newTotal !== undefined) bar.setTotal(newTotal);
      bar.update(begun++, { what: step });
    },
    // To the terminal by the library, so that the bar stays below; elsewhere it cannot be in the way.
    say: process.stdout.isTTY ? (line) => bars.log(`${line}\n`) : say,
    stop: () => {
      if (!isStopped) bars.stop();
      isStopped = true;
    },
  };
}
