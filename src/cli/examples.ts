/** Examples of each command, shown by --help. */
import type { Command } from 'commander';

/** EXAMPLES: by the words of a command; a test holds them to the commands and options that there are. */
export const EXAMPLES: Readonly<Record<string, readonly string[]>> = {
  sluice: ['sluice init', 'sluice serve --config sluice.yaml', 'sluice status'],
  'sluice serve': ['sluice serve --config sluice.yaml', 'CONFIG_PATH=sluice.yaml sluice serve'],
  'sluice check': ['sluice check --config sluice.yaml'],
  'sluice migrate': [
    'sluice migrate --config sluice.yaml',
    'sluice migrate status',
    'sluice migrate down --yes --step 0006_audit_grpc_status',
  ],
  'sluice version': ['sluice version'],
  'sluice init': [
    'sluice init',
    'sluice init --backend http://10.0.0.11:8080 http://10.0.0.12:8080 --limit 100/50',
    'sluice init edge.yaml --backend http://127.0.0.1:3000 --tls a.example,b.example --agree-to-terms',
  ],
  'sluice status': ['sluice status', 'sluice status --json | jq -r .problems[].text'],
  'sluice top': ['sluice top', 'sluice top --once', 'sluice top --json | jq .now.requestsPerSec'],
  'sluice explain': [
    'sluice explain GET http://example.com/api/users',
    "sluice explain POST /upload -H 'host: example.com' -H 'x-api-key: KEY' --client-ip 203.0.113.7",
  ],
  'sluice reload': ['sluice reload', 'sluice reload --admin http://10.0.0.5:9900 --json'],
  'sluice drain': ['sluice drain app 10.0.0.12:8080', 'sluice drain app blue-1 --yes'],
  'sluice enable': ['sluice enable app 10.0.0.12:8080'],
  'sluice restart': ['sluice restart'],
  'sluice config': ['sluice config show', 'sluice config diff'],
  'sluice config show': ['sluice config show', 'sluice config show --json | jq .pools'],
  'sluice config diff': ['sluice config diff', 'sluice config diff --json | jq .same'],
  'sluice audit': [
    'sluice audit --kind admin',
    'sluice audit --subject "client acme" --limit 10000 --json | jq -r .[].text',
    'sluice audit --requests --status 429',
  ],
  'sluice completion': [
    "echo 'source <(sluice completion bash)' >> ~/.bashrc",
    "echo 'source <(sluice completion zsh)' >> ~/.zshrc",
    'sluice completion fish > ~/.config/fish/completions/sluice.fish',
  ],
  'sluice clients': [
    'sluice clients list',
    'sluice clients set acme --capacity 1000 --refill-per-second 100',
  ],
  'sluice clients list': [
    'sluice clients list --prefix shop- --limit 100',
    'sluice clients list --json | jq -r .[].clientId',
  ],
  'sluice clients get': ['sluice clients get acme', 'sluice clients get 10.0.0.0/8 --json'],
  'sluice clients set': [
    'sluice clients set acme --capacity 1000 --refill-per-second 100',
    'sluice clients set 203.0.113.7 --mode blocked',
    'sluice clients set acme --policy-limit gold=1000/50 --policy-limit daily=100000/2',
    'sluice clients set acme --no-limits',
  ],
  'sluice clients delete': ['sluice clients delete acme'],
  'sluice clients bucket': ['sluice clients bucket acme', 'sluice clients bucket 203.0.113.7'],
  'sluice clients reset': ['sluice clients reset acme'],
  'sluice clients issue-key': [
    'sluice clients issue-key acme --name ci',
    'KEY=$(sluice clients issue-key acme)',
  ],
  'sluice clients list-keys': ['sluice clients list-keys acme'],
  'sluice clients revoke-key': ['sluice clients revoke-key acme k_3f9a'],
};

/** giveExamples appends its examples to the help of a command and of those below it; for cli.ts. @param words of the command */
export function giveExamples(command: Command, words: string): void {
  const lines = EXAMPLES[words] ?? [];
  if (lines.length > 0)
    command.addHelpText('after', `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`);
  for (const inner of command.commands) giveExamples(inner, `${words} ${inner.name()}`);
}
