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
  text: string;
  /** The words of the button that does it. */
  verb: string;
  /** Does it, or resolves with what to ask first. @param isSure whether that was asked */
  run(isSure: boolean): Promise<string | undefined>;
}

/** Confirm asks before something is done, once more where that says so, and shows what went wrong. */
export function Confirm({ question, onClose }: { question: Question; onClose(): void }): JSX.Element {
  const { title, verb, run } = question;
  const [doubt, setDoubt] = useState<string>();
  const [message, setMessage] = useState('');
  const [busy, setBusy] = useState(false);
  const proceed = async (): Promise<void> => {
    setBusy(true);
    setMessage('');
    try {
      const next = await run(doubt !== undefined);
      if (next === undefined) return onClose();
      setDoubt(next);
    } catch (error) {
      setMessage(messageOf(error));
    }
    setBusy(false);
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <p aria-live="polite">{doubt ?? question.text}</p>
      <p class="bad" role="alert">
        {message}
      </p>
      <div class="actions">
        <button type="button" onClick={onClose}>
          Cancel
        </button>
        <button
          type="button"
          class="danger"
          disabled={busy}
          // The second click of a double-click answers no second question.
          onClick={({ detail }) => detail < 2 && void proceed()}
        >
          {verb}
        </button>
      </div>
    </Dialog>
  );
}
