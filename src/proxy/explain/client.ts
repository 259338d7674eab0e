/** Explains who a request is counted for. */
import type { Explanation } from '../../contract/explain.ts';
import type { Admission } from '../admission.ts';
import type { AdmissionPlan } from '../plan.ts';

interface ExplainedClient extends Pick<Explanation, 'client' | 'apiKey'> {
  steps: string[];
}

/** explainClient is called with an admission, and with the plan by which it has admitted the request. */
export function explainClient(admission: Admission, plan: AdmissionPlan): ExplainedClient {
  const { caller, peer, head, apiKey } = admission;
  const noKey = plan.apiKeyHeader === '' ? 'off' : 'none';
  if (caller === null) return { client: null, apiKey: noKey, steps: [] };
  const { clientIp, clientId, mode, match } = caller;
  // Where the key makes no difference to the identifier, it was not valid.
  const hasKey = apiKey !== '' && plan.identifier.identify(peer, head.forwardedFor, '') !== caller;
  const isExact = match.bucketName === clientIp;
  const by = hasKey ? 'api_key' : isExact ? 'address' : 'range';
  const keyResult = apiKey === '' ? noKey : hasKey ? 'valid' : 'invalid';
  const steps = [
    addressStep(admission),
    ...(keyResult === 'invalid'
      ? [`The API key in ${plan.apiKeyHeader} is not valid and does not count.`]
      : []),
    `${ownerText(by, clientId, match.bucketName)}${mode === 'limit' ? '' : ` Its mode is ${mode}.`}`,
  ];
  return { client: { clientId, clientIp, mode, by, match }, apiKey: keyResult, steps };
}

function addressStep({ peer, head, caller }: Admission): string {
  const { address, isTrusted } = peer;
  const isNamed = head.forwardedFor !== '';
  if (!isTrusted)
    return isNamed
      ? `The client is ${address}: it is no trusted proxy, so its X-Forwarded-For does not count.`
      : `The client is ${address}.`;
  return isNamed
    ? `${address} is a trusted proxy: by its X-Forwarded-For the client is ${caller?.clientIp}.`
    : `${address} is a trusted proxy, but sent no X-Forwarded-For: it is the client itself.`;
}

function ownerText(by: string, clientId: string | null, bucketName: string): string {
  if (by === 'api_key') return `The API key belongs to client ${clientId}.`;
  if (clientId !== null) return `The address belongs to client ${clientId}.`;
  return by === 'address'
    ? 'No client has this address: it has a bucket of its own.'
    : `No client has this address: it shares the bucket of ${bucketName}.`;
}
