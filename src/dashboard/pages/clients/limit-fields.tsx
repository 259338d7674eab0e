import type { JSX } from 'preact';
import type { Limits } from '../../api/answers.ts';
import { numberOf } from '../../parts/format.ts';
import { DEFAULT_POLICY, type Draft, type LimitDraft } from './draft.ts';

interface LimitFieldsProps {
  draft: Draft;
  /** Those of the configuration. */
  policies: Record<string, Limits>;
  onChange(part: Partial<Draft>): void;
}

const NONE: LimitDraft = { capacity: '', refillPerSecond: '' };

/** LimitFields has a row for each policy; empty fields mean the policy's own limits. */
export function LimitFields({ draft, policies, onChange }: LimitFieldsProps): JSX.Element {
  const names = [...new Set([DEFAULT_POLICY, ...Object.keys(policies), ...Object.keys(draft.limits)])];
  const change = (name: string, part: Partial<LimitDraft>): void =>
    onChange({ limits: { ...draft.limits, [name]: { ...(draft.limits[name] ?? NONE), ...part } } });
  return (
    <table class="limits">
      <caption class="unseen">Limits by policy</caption>
      <thead>
        <tr>
          <th scope="col">Policy</th>
          <th scope="col">Capacity</th>
          <th scope="col">Refill per second</th>
        </tr>
      </thead>
      <tbody>
        {names.map((name) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            {(['capacity', 'refillPerSecond'] as const).map((field) => (
              <td key={field}>
                <input
                  inputMode="decimal"
                  aria-label={`${field === 'capacity' ? 'Capacity' : 'Refill per second'} of policy ${name}`}
                  value={draft.limits[name]?.[field] ?? ''}
                  placeholder={policies[name] === undefined ? '' : numberOf(policies[name][field])}
                  onInput={({ currentTarget }) => change(name, { [field]: currentTarget.value })}
                />
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
