package cli

import "strings"

// shellLine quotes what a shell would take apart. An empty first word only makes room before the others.
func shellLine(args ...string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@%+,"
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = a
		if strings.Trim(a, plain) != "" || a == "" && i > 0 {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
