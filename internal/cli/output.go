package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

// An output is the -o flag: table for people, json and yaml for programs.
type output struct{ format string }

func (o *output) flag(cmd *cobra.Command) {
	o.format = "table"
	cmd.Flags().VarP(o, "output", "o", "table, json or yaml")
	_ = cmd.RegisterFlagCompletionFunc("output",
		cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
}

func (o *output) String() string { return o.format }
func (o *output) Type() string   { return "format" }

func (o *output) Set(s string) error {
	switch s {
	case "table", "json", "yaml":
		o.format = s
		return nil
	}
	return fmt.Errorf("choose table, json or yaml")
}

// print writes v in the chosen form; table writes it for people.
func (o *output) print(w io.Writer, v any, table func() error) error {
	switch o.format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "yaml":
		// By way of JSON, so that both forms have the same names.
		raw, err := json.Marshal(v)
		if err != nil {
			return err
		}
		text, err := yaml.JSONToYAML(raw)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}
	return table()
}

// table writes rows in aligned columns. Cells are what roles tell of themselves, so each is kept to its place.
func table(w io.Writer, header string, rows func(row func(cells ...any))) error {
	tw := tabwriter.NewWriter(w, 2, 8, 2, ' ', 0)
	fmt.Fprintln(tw, header)
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(tw, "\t")
			}
			fmt.Fprint(tw, oneLine(fmt.Sprint(c)))
		}
		fmt.Fprintln(tw)
	})
	return tw.Flush()
}
