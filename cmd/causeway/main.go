// Command causeway is the whole product: every role and every tool is one of its commands.
package main

import (
	"os"

	"github.com/causeway-gateway/causeway/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
