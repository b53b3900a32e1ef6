package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
	"github.com/causeway-gateway/causeway/console"
)

func (a *app) statusCmd() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "status",
		Short: "show how the running site fares",
		Long:  "Show the running site: its processes, channels, documents and published servers. Exit status 1 when it is not healthy or none runs.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSite(cmd.Context(), func(ctx context.Context, _ state, c *console.Client) error {
				st, err := c.Status(ctx)
				if err != nil {
					return err
				}
				if err := out.print(a.stdout, st, func() error { return a.statusTable(st) }); err != nil {
					return err
				}
				if !st.Healthy {
					return errSilent
				}
				return nil
			})
		},
	}
	out.flag(cmd)
	return cmd
}

func (a *app) statusTable(st console.Status) error {
	health := "healthy"
	if !st.Healthy {
		health = "NOT HEALTHY"
	}
	fmt.Fprintf(a.stdout, "site %s, %s, up %s (pid %d, causeway %s)\ngateway  %s\nadmin    %s\nstate    %s\nlogs     %s\n\n",
		st.Site, health, a.now().Sub(st.Since).Round(time.Second), st.PID, st.Version, st.GatewayURL, st.AdminURL, st.State, st.LogsDir)
	err := table(a.stdout, "ROLE\tNAME\tPID\tSTATE\tRESTARTS\tCHANNELS\tDOCUMENT", func(write func(...any)) {
		row := func(role, name string, p console.ProcessStatus, healthy bool, channels, document string) {
			state := p.State
			switch {
			case p.Silent:
				state = "running, silent"
			case p.State == "running" && !healthy:
				state = "running, not healthy"
			}
			pid, restarts := "-", "-"
			if p.PID != 0 {
				pid = strconv.Itoa(p.PID)
			}
			if st.Balancer != nil { // else the site looks after no process, and nobody tells it
				restarts = strconv.Itoa(p.Restarts)
			}
			write(role, name, pid, state, restarts, channels, document)
		}
		if st.Balancer != nil {
			row("balancer", "balancer", *st.Balancer, true, "-", "-")
		}
		for _, i := range st.Instances {
			row("gateway", fmt.Sprintf("%s (slot %d)", i.ID, i.Slot), i.Process, i.Healthy, channelCell(i), fmt.Sprint(i.Generation))
		}
		for _, c := range st.ConnectionPoints {
			row("connection point", string(c.ID), c.Process, true, fmt.Sprint(c.Channels), fmt.Sprint(c.Generation))
		}
		if st.SampleServer != nil {
			row("sample server", "sample", *st.SampleServer, true, "-", "-")
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout)
	if err := channelTable(a.stdout, st.Channels); err != nil {
		return err
	}
	if err := serverTable(a.stdout, st.Servers, st.ServerStates); err != nil || len(st.Notes) == 0 {
		return err
	}
	fmt.Fprintln(a.stdout)
	for _, note := range st.Notes {
		fmt.Fprintln(a.stdout, "note:", a.pasteable(oneLine(note)))
	}
	return nil
}

// channelCell is how many channels an instance has, with the ways they came unless all came by the best.
func channelCell(i console.InstanceStatus) string {
	cell := strconv.Itoa(i.Channels)
	if i.Transports[string(channel.SlotPort)] == i.Channels {
		return cell
	}
	var ways []string
	for _, t := range channel.Transports {
		if n := i.Transports[string(t)]; n > 0 {
			ways = append(ways, fmt.Sprintf("%d %s", n, t))
		}
	}
	return cell + " (" + strings.Join(ways, ", ") + ")"
}

// unknownState is the state of a channel whose connection point does not answer.
const unknownState = "Unknown"

// channelTable is what connection points keep to instances, and nothing where none of them runs on this host.
func channelTable(w io.Writer, channels []console.ChannelStatus) error {
	if len(channels) == 0 {
		return nil
	}
	err := table(w, "CHANNEL\tSTATE\tCONNECTIONS\tROUND TRIP\tSTREAMS\tTRANSPORT\tLAST ERROR", func(row func(...any)) {
		for _, c := range channels {
			connections, trip, transport := fmt.Sprintf("%d of %d", c.Connected, c.Wanted), "-", "-"
			if c.State == unknownState {
				connections = "-"
			}
			if c.Connected > 0 {
				trip, transport = c.RoundTrip.Round(10*time.Microsecond).String(), c.Transport
				if c.Proxy != "" {
					transport += " via " + c.Proxy
				}
			}
			row(fmt.Sprintf("%s to slot %d", c.ConnectionPoint, c.Slot), c.State, connections,
				trip, c.Streams, transport, cmp.Or(shortened(oneLine(c.LastError)), "-"))
		}
	})
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	return nil
}

// cellRunes is how wide an error may be in a table. A note says all of it, and so does -o json.
const cellRunes = 48

// shortened cuts what is too wide for a table. What was wrong stands at the end of an error, and who says so before it.
func shortened(text string) string {
	if runes := []rune(text); len(runes) > cellRunes {
		return "…" + string(runes[len(runes)-cellRunes+1:])
	}
	return text
}

// serverTable is the published servers, with how they are reached where connection points told of it.
func serverTable(w io.Writer, servers []console.Published, states []console.ServerStatus) error {
	head := "SERVER\tOUTSIDE\tINSIDE\tENDPOINTS"
	if len(states) > 0 {
		head += "\tSTATE"
	}
	return table(w, head, func(row func(...any)) {
		for _, s := range servers {
			cells := []any{s.Name, s.External, s.URL, endpoints(s)}
			if len(states) > 0 {
				cells = append(cells, serverState(s.Name, states))
			}
			row(cells...)
		}
	})
}

// serverState puts together what connection points say of one server.
func serverState(name causeway.ServerName, states []console.ServerStatus) string {
	all, reached := 0, 0
	var lost []string
	for _, s := range states {
		if s.Server != name {
			continue
		}
		all++
		switch s.State {
		case "Reachable":
			reached++
		case "Unreachable":
			lost = append(lost, string(s.ConnectionPoint))
		}
	}
	switch {
	case len(lost) > 0 && len(lost) < all:
		return "unreachable from " + strings.Join(lost, ", ")
	case len(lost) > 0:
		return "unreachable"
	case reached > 0:
		return "reachable"
	}
	return "not asked yet"
}

// endpoints is the paths of a server's rules, shortened for a table.
func endpoints(s console.Published) string {
	if len(s.Rules) == 0 {
		return "/"
	}
	text := s.Rules[0].Path
	for i, r := range s.Rules[1:] {
		if i == 3 {
			return text + fmt.Sprintf(" and %d more", len(s.Rules)-4)
		}
		text += " " + r.Path
	}
	return text
}
