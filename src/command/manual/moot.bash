# Completion of moot in bash: the program itself is asked, which looks into the presence table.

# Bash divides a line at @, = and : as well. The words are put together again, and what bash does
# not count to the word that it completes is taken off from each answer.
_moot() {
    local rest="${COMP_LINE:0:COMP_POINT}" word begun="" index last
    local -a words=()
    for ((index = 0; index <= COMP_CWORD; index++)); do
        word="${COMP_WORDS[index]}"
        if ((index == 0)) || [[ "$rest" == [[:space:]]* ]]; then
            rest="${rest#"${rest%%[![:space:]]*}"}"
            words+=("")
        fi
        ((index == COMP_CWORD)) && word="$rest"
        words[${#words[@]} - 1]+="$word"
        rest="${rest#"$word"}"
    done
    last=$((${#words[@]} - 1))
    case "${words[last]}" in
        [\"\']*) words[last]="$2" ;;
        *) begun="${words[last]%"$2"}" ;;
    esac
    # As the program will get them.
    words=("${words[@]//[\"\'\\]/}")
    words=("${words[@]/#\~\//$HOME/}")
    COMPREPLY=()
    while IFS= read -r word; do
        word="${word#"$begun"}"
        # A file can have any name; rooms and members are letters and digits of any script.
        [[ "$word" == *[[:space:]\"\'\`\$\&\;\|\<\>\(\)\{\}\[\]\*\?\!\#\\]* ]] && printf -v word %q "$word"
        COMPREPLY+=("$word")
    done < <(VARIABLE=bash _CLAP_COMPLETE_INDEX="$last" _CLAP_IFS=$'\n' \
        command moot -- "${words[@]}" 2> /dev/null)
    if ((${#COMPREPLY[@]} == 0)) && [[ " ${words[*]:0:last} " == *" -- "* ]]; then
        compopt -o default 2> /dev/null
    elif [[ "${COMPREPLY[0]-}" == *[=/] ]]; then
        compopt -o nospace 2> /dev/null
    fi
    return 0
}
complete -F _moot moot
