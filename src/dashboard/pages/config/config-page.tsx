/** The configuration as it runs, its difference to the file, and the reload. */
import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { ConfigCheck, ConfigDiff, FileProblem } from '../../api/answers.ts';
import { call } from '../../api/call.ts';
import { useMayWrite } from '../../api/session.ts';
import { loadStatus } from '../../api/status.ts';
import { Answer, useConfig } from '../../parts/answer.tsx';
import { Confirm } from '../../parts/dialog.tsx';
import { Failure } from '../../parts/failure.tsx';
import { lateWorkers } from '../../parts/format.ts';
import { Status } from '../../parts/status.tsx';
import { Table } from '../../parts/table.tsx';
import { yamlOf } from './yaml-text.ts';

const RELOAD_DEADLINE_MS = 65_000;

export function ConfigPage(): JSX.Element {
  const running = useConfig();
  const diff = useConfig<ConfigDiff>('/api/v1/config/diff');
  return (
    <>
      <h2>The file and what runs</h2>
      <Answer of={diff}>{(answer) => <Diff of={answer} />}</Answer>
      <FileActions onChecked={diff.reload} />
      <h2>As it runs</h2>
      <p class="hint">Defaults included, secrets left out.</p>
      <Answer of={running}>
        {(answer) => (
          // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach it
          <section class="config" tabIndex={0} aria-label="Running configuration">
            <pre>{yamlOf(answer)}</pre>
          </section>
        )}
      </Answer>
    </>
  );
}

function Diff({ of: { same, problems, needsRestart, changes } }: { of: ConfigDiff }): JSX.Element {
  if (problems.length > 0 && !needsRestart)
    return (
      <>
        <p>
          <Status tone="bad" word="The file has mistakes, and cannot be reloaded." />
        </p>
        <Problems of={problems} />
      </>
    );
  if (same)
    return (
      <p>
        <Status tone="ok" word="Sluice runs what the file says." />
      </p>
    );
  return (
    <>
      <p>
        <Status
          tone="warn"
          word={
            needsRestart
              ? 'The file has no mistake, but changes that a reload refuses: they need a restart of the process.'
              : 'The file says something else than what runs.'
          }
        />
      </p>
      <Problems of={problems} />
      <Table
        caption="Differences"
        rows={changes}
        keyOf={({ path }) => path}
        empty="They differ in what is not shown, such as a secret."
        columns={[
          { title: 'Key', wide: true, cell: ({ path }) => <code>{path}</code> },
          { title: 'Runs', wide: true, cell: ({ running }) => <code>{textOf(running)}</code> },
          { title: 'In the file', wide: true, cell: ({ file }) => <code>{textOf(file)}</code> },
        ]}
      />
    </>
  );
}

function textOf(value: unknown): string {
  return value === undefined || value === null ? 'not set' : yamlOf(value).trim();
}

function Problems({ of }: { of: readonly FileProblem[] }): JSX.Element {
  return (
    <ul>
      {of.map(({ path, line, message }) => (
        <li key={`${path} ${line} ${message}`}>
          {line !== null && `Line ${line}: `}
          {path !== null && <code>{path}</code>} {message}
        </li>
      ))}
    </ul>
  );
}

function FileActions({ onChecked }: { onChecked(): void }): JSX.Element {
  const mayWrite = useMayWrite();
  const [checked, setChecked] = useState<ConfigCheck | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const [asking, setAsking] = useState(false);
  const [said, setSaid] = useState('');
  /** What was said before is of an earlier file. */
  const forget = (): void => {
    setSaid('');
    setChecked(null);
    setFailure(null);
  };
  const check = (): void => {
    forget();
    call<ConfigCheck>('/api/v1/config/check', { method: 'POST' }).then(setChecked, setFailure);
    onChecked();
  };
  const reload = async (): Promise<undefined> => {
    forget();
    const options = { method: 'POST', deadlineMs: RELOAD_DEADLINE_MS };
    try {
      const { revision, pendingWorkers } = await call<{ revision: number; pendingWorkers: number[] }>(
        '/api/v1/reload',
        options,
      );
      setSaid(`Revision ${revision} runs${lateWorkers(pendingWorkers) ?? '.'}`);
      void loadStatus();
    } catch (error) {
      setFailure(error);
    }
  };
  return (
    <>
      <div class="actions left">
        <button type="button" onClick={check}>
          Check the file
        </button>
        <button type="button" class="primary" disabled={!mayWrite} onClick={() => setAsking(true)}>
          Reload
        </button>
        <span role="status">
          {said}
          {checked?.ok && 'The file has no mistakes.'}
        </span>
      </div>
      {checked !== null && !checked.ok && <Problems of={checked.problems} />}
      {checked !== null && checked.warnings.length > 0 && <Problems of={checked.warnings} />}
      <Failure of={failure} />
      {asking && (
        <Confirm
          question={{
            title: 'Reload the configuration',
            verb: 'Reload',
            text: 'Sluice reads its file again and applies all of it, or nothing. Requests under way finish as they began.',
            run: reload,
          }}
          onClose={() => setAsking(false)}
        />
      )}
    </>
  );
}
