import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import { messageOf } from '../api/call.ts';

interface DialogProps {
  title: string;
  onClose(): void;
  children: ComponentChildren;
}

/** Dialog is modal: the browser keeps the focus in it, and Escape closes it. */
export function Dialog({ title, onClose, children }: DialogProps): JSX.Element {
  const element = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useEffect(() => {
    const dialog = element.current;
    const opener = document.activeElement;
    dialog?.showModal();
    return () => {
      dialog?.close();
      if (opener instanceof HTMLElement && opener.isConnected) opener.focus();
    };
  }, []);
  return (
    <dialog ref={element} aria-labelledby={titleId} onCancel={onClose}>
      <div class="dialog-head">
        <h2 id={titleId}>{title}</h2>
        <button type="button" aria-label="Close" onClick={onClose}>
          ✕
        </button>
      </div>
      {children}
    </dialog>
  );
}

export interface Question {
  title: string;
  /** One step per text: each but the last leads to the next one. */
  steps: readonly string[];
  /** The words of the button that does it. */
  verb: string;
  run(): Promise<unknown>;
}

/** Confirm asks before something is done, twice where the question has two steps, and shows what went wrong. */
export function Confirm({ question, onClose }: { question: Question; onClose(): void }): JSX.Element {
  const { title, steps, verb, run } = question;
  const [step, setStep] = useState(0);
  const [message, setMessage] = useState('');
  const [busy, setBusy] = useState(false);
  const isLast = step >= steps.length - 1;
  const proceed = async (): Promise<void> => {
    if (!isLast) return setStep(step + 1);
    setBusy(true);
    try {
      await run();
      onClose();
    } catch (error) {
      setMessage(messageOf(error));
      setBusy(false);
    }
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <p aria-live="polite">{steps[step]}</p>
      <p class="bad" role="alert">
        {message}
      </p>
      <div class="actions">
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button
          type="button"
          class={isLast ? 'danger' : 'primary'}
          disabled={busy}
          onClick={() => void proceed()}
        >
          {isLast ? verb : 'Go on'}
        </button>
      </div>
    </Dialog>
  );
}
