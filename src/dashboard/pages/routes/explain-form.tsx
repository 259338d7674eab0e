import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Explanation } from '../../api/answers.ts';
import { call } from '../../api/call.ts';
import { Failure } from '../../parts/failure.tsx';
import { ExplanationView } from './explanation.tsx';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** ExplainForm asks a running worker; the request is not sent and no token is taken. */
export function ExplainForm(): JSX.Element {
  const [method, setMethod] = useState('GET');
  const [url, setUrl] = useState('');
  const [fields, setFields] = useState('');
  const [clientIp, setClientIp] = useState('');
  const [answer, setAnswer] = useState<Explanation | null>(null);
  const [failure, setFailure] = useState<unknown>(null);
  const ask = async (event: Event): Promise<void> => {
    event.preventDefault();
    setFailure(null);
    try {
      const headers = headersOf(fields);
      const body = {
        method,
        url: url.trim(),
        headers,
        ...(clientIp.trim() !== '' && { clientIp: clientIp.trim() }),
      };
      setAnswer(await call<Explanation>('/api/v1/explain', { method: 'POST', body }));
    } catch (error) {
      setAnswer(null);
      setFailure(error);
    }
  };
  return (
    <>
      <form class="fields" onSubmit={(event) => void ask(event)}>
        <label class="field">
          Method
          <select value={method} onChange={({ currentTarget }) => setMethod(currentTarget.value)}>
            {METHODS.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
        <Text
          label="URL"
          value={url}
          onInput={setUrl}
          placeholder="http://shop.example.com/api/orders"
          required
        />
        <Text label="From address" value={clientIp} onInput={setClientIp} placeholder="203.0.113.7" />
        <label class="field">
          Header fields, one a line
          <textarea
            rows={2}
            spellcheck={false}
            value={fields}
            placeholder="x-api-key: …"
            onInput={({ currentTarget }) => setFields(currentTarget.value)}
          />
        </label>
        <button type="submit" class="primary">
          Explain
        </button>
      </form>
      <Failure of={failure} />
      <div aria-live="polite">{answer !== null && <ExplanationView of={answer} />}</div>
    </>
  );
}

interface TextProps {
  label: string;
  value: string;
  onInput(value: string): void;
  placeholder: string;
  required?: boolean;
}

function Text({ label, value, onInput, placeholder, required = false }: TextProps): JSX.Element {
  return (
    <label class={required ? 'field long' : 'field'}>
      {label}
      <input
        value={value}
        placeholder={placeholder}
        required={required}
        spellcheck={false}
        onInput={({ currentTarget }) => onInput(currentTarget.value)}
      />
    </label>
  );
}

/** A field that is given twice is two lines, as in a request. */
function headersOf(text: string): Record<string, string[]> {
  const headers = new Map<string, string[]>();
  for (const line of text.split('\n')) {
    const [name = '', ...rest] = line.split(':');
    const key = name.trim().toLowerCase();
    if (key !== '') headers.set(key, [...(headers.get(key) ?? []), rest.join(':').trim()]);
  }
  return Object.fromEntries(headers);
}
