import type { JSX } from 'preact';

interface FilterProps {
  label: string;
  value: string;
  onInput(value: string): void;
  placeholder?: string;
}

/** Filter is a search field with its label. */
export function Filter({ label, value, onInput, placeholder }: FilterProps): JSX.Element {
  return (
    <label class="field">
      {label}
      <input
        type="search"
        value={value}
        placeholder={placeholder}
        spellcheck={false}
        onInput={({ currentTarget }) => onInput(currentTarget.value)}
      />
    </label>
  );
}
