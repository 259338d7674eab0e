import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

/** After the last key: a search for each letter would be wasted. */
const SETTLE_MS = 200;

interface FilterProps {
  label: string;
  value: string;
  onInput(value: string, field: HTMLInputElement): void;
  placeholder?: string;
  /** What the browser checks, and what the pattern asks for. */
  check?: { pattern: string; title: string };
}

/** Filter is a search field with its label. */
export function Filter({ label, value, onInput, placeholder, check }: FilterProps): JSX.Element {
  return (
    <label class="field">
      {label}
      <input
        type="search"
        value={value}
        placeholder={placeholder}
        spellcheck={false}
        {...check}
        onInput={({ currentTarget }) => onInput(currentTarget.value, currentTarget)}
      />
    </label>
  );
}

/** useSettled is a value once it has not changed for a moment. */
export function useSettled(value: string): string {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
