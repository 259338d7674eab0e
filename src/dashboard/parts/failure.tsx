import type { JSX } from 'preact';
import { CallError, messageOf } from '../api/call.ts';

/** Failure shows what a call threw; each wrong field, where the answer names them. null: nothing went wrong. */
export function Failure({ of }: { of: unknown }): JSX.Element {
  const errors = of instanceof CallError ? of.errors : [];
  return (
    <div role="alert">
      {of !== null && errors.length === 0 && <p class="bad">{messageOf(of)}</p>}
      {errors.map(({ field, message, line }) => (
        <p key={`${field} ${message}`} class="bad">
          {line != null && `Line ${line}: `}
          {field !== '' && <code>{field}</code>} {message}
        </p>
      ))}
    </div>
  );
}
