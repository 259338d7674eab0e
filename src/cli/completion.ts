/** `sluice completion SHELL`: the script that makes a shell complete. It asks `sluice complete` at each TAB (complete.ts). */
import { Argument, type Command } from 'commander';

/** Bash splits words at `:` and `=` too, as in host:port: it has what is before the last of them already. */
const BASH = `# source <(sluice completion bash)
_sluice() {
  local IFS=$' \\t\\n' line=\${COMP_LINE:0:COMP_POINT} words word part
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  word=\${words[\${#words[@]}-1]}
  part=\${word%"\${word##*[:=]}"}
  COMPREPLY=()
  while IFS=$'\\t' read -r word _; do
    if [[ $word == :files ]]; then compopt -o default; else COMPREPLY+=("\${word#"$part"}"); fi
  done < <("\${words[0]/#\\~/$HOME}" complete -- "\${words[@]:1}" 2>/dev/null)
}
complete -F _sluice sluice
`;

const ZSH = `#compdef sluice
# source <(sluice completion zsh), or save it as _sluice in a folder of $fpath
_sluice() {
  local -a lines values
  local line
  lines=("\${(@f)$("\${(Q)words[1]}" complete -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ $lines[1] == :files ]]; then
    _files
    return
  fi
  for line in $lines; do
    values+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  _describe sluice values
}
if [[ $funcstack[1] == _sluice ]]; then _sluice "$@"; else compdef _sluice sluice; fi
`;

const FISH = `# sluice completion fish | source, or save it as ~/.config/fish/completions/sluice.fish
function __sluice_complete
  set -l words (commandline -opc)
  set -l program $words[1]
  set -e words[1]
  set -l current (commandline -ct)
  set -l lines ($program complete -- $words "$current" 2>/dev/null)
  if test "$lines[1]" = :files
    __fish_complete_path "$current"
  else
    printf '%s\\n' $lines
  end
end
complete -c sluice -f -a '(__sluice_complete)'
`;

const SCRIPTS = { bash: BASH, zsh: ZSH, fish: FISH };

/** addCompletion gives the command `completion` its argument and action; for cli.ts. */
export function addCompletion(command: Command): void {
  command
    .addArgument(new Argument('<shell>', 'for which shell').choices(Object.keys(SCRIPTS)))
    .action((shell: keyof typeof SCRIPTS) => void process.stdout.write(SCRIPTS[shell]));
}
