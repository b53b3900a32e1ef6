package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"

	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/channel"
)

func TestAFailureHasOneWhoseDoingItIs(t *testing.T) {
	live := t.Context()
	left, leave := context.WithCancel(live)
	leave()
	stopped, stop := context.WithCancelCause(live)
	stop(errStopping)
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		want fault
	}{
		{"none", live, nil, faultNone},
		{"device gone", live, errors.Join(errDeviceGone, errors.New("reset")), faultDevice},
		{"device reads nothing", live, errIdleAnswer, faultDevice},
		{"HTTP/2 stream reset", left, context.Canceled, faultDevice},
		{"something that ended with the device", left, errors.New("body closed"), faultDevice},
		{"body too slow", live, causeway.Refuse(causeway.CodeRequestTimeout, "slow"), faultDevice},
		{"body too slow for the connection point", live, causeway.Refuse(causeway.CodeConnectorRequestTimeout, "slow"), faultDevice},
		{"body too large", live, causeway.Refuse(causeway.CodeBodyTooLarge, "large"), faultDevice},
		{"server away", live, causeway.Refuse(causeway.CodeConnectorServerUnreachable, "away"), faultServer},
		{"server cut its answer", live, causeway.Refuse(causeway.CodeConnectorServerReset, "cut"), faultServer},
		{"server late", live, causeway.Refuse(causeway.CodeConnectorServerTimeout, "late"), faultServer},
		{"answer of another length", live, errors.New("3 body bytes, Content-Length 5"), faultServer},
		{"channel lost", live, fmt.Errorf("x: %w", causeway.Refuse(causeway.CodeChannelLost, "lost")), faultChannel},
		{"nobody online", live, causeway.Refuse(causeway.CodeNoConnectionPoint, "none"), faultChannel},
		{"connection point full", live, causeway.Refuse(causeway.CodeConnectorOverloaded, "full"), faultChannel},
		{"of a later version", live, causeway.Refuse(999, "what"), faultChannel},
		{"no memory", live, causeway.Refuse(causeway.CodeOverloaded, "budget"), faultGateway},
		{"panic", live, causeway.Refuse(causeway.CodeInternalError, "panic"), faultGateway},
		{"stopping", live, errStopping, faultGateway},
		{"something that ended with us", stopped, errors.New("body closed"), faultGateway},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := faultOf(tt.ctx, tt.err); got != tt.want {
				t.Errorf("faultOf(%v) = %q, want %q", tt.err, faultNames[got], faultNames[tt.want])
			}
		})
	}
}

// gather returns the metrics as they are scraped.
func (in *instance) gather() string {
	families, err := in.Server.registry.Gather()
	if err != nil {
		in.t.Error(err)
	}
	var b strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			in.t.Error(err)
		}
	}
	return b.String()
}

func TestFailedRequestsAreCountedByWhoseDoingItIs(t *testing.T) {
	in := run(t)
	failed := func() string {
		for _, e := range in.traffic.list() {
			if e.key == (ruleKey{"app", "/"}) {
				return fmt.Sprint(e.counts().failed)
			}
		}
		return ""
	}
	in.backend.serve(func(ctx context.Context, _ *seenRequest, d channel.DeviceSide) error {
		if err := d.Answer(head("200 OK", "Content-Length: 100"), []byte("begun"), false); err != nil {
			return err
		}
		<-ctx.Done()
		return context.Cause(ctx)
	})
	d := in.dial("pc-1")
	d.send(get("/app/"))
	if _, err := d.br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	d.c.NetConn().Close()
	waitFor(t, func() bool { return failed() == "[0 1 0 0 0]" })
	waitFor(t, func() bool {
		return strings.Contains(in.gather(), `causeway_gateway_answers_aborted_total{reason="device"} 1`)
	})

	in.backend.serve(func(_ context.Context, _ *seenRequest, d channel.DeviceSide) error {
		return d.Answer(head("500 Internal Server Error", "Content-Length: 0"), nil, true)
	})
	d = in.dial("pc-1")
	d.ask(get("/app/")).wants(t, 500, 0)
	in.backend.serve(func(context.Context, *seenRequest, channel.DeviceSide) error {
		return causeway.Refuse(causeway.CodeChannelLost, "lost")
	})
	d.ask(get("/app/")).wants(t, 502, causeway.CodeChannelLost)
	if got := failed(); got != "[0 1 1 1 0]" {
		t.Errorf("failures by reason %s, want one of the device, the server and the channel", got)
	}
	for _, want := range []string{`path="/",reason="channel",server="app"} 1`, `path="/",reason="gateway",server="app"} 0`} {
		if got := in.gather(); !strings.Contains(got, "causeway_gateway_server_requests_failed_total{"+want) {
			t.Errorf("no failures with %s in\n%s", want, got)
		}
	}
	sum := uint64(0)
	for _, e := range in.Status().Endpoints {
		sum += e.Failed
	}
	if sum != 3 {
		t.Errorf("the status counts %d, want 3", sum)
	}
}
