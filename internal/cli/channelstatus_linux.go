package cli

import (
	"github.com/causeway-gateway/causeway"
	"github.com/causeway-gateway/causeway/connpoint"
	"github.com/causeway-gateway/causeway/console"
	"github.com/causeway-gateway/causeway/site"
)

// channelsOf is what a connection point says of its channels, in the words of the site's status.
func channelsOf(own connpoint.Status) (channels []console.ChannelStatus) {
	for _, ch := range own.Channels {
		if ch.Gateway != gatewayName {
			continue
		}
		channels = append(channels, console.ChannelStatus{
			ConnectionPoint: own.ID, Slot: ch.Slot, Instance: ch.Instance, State: ch.State, Transport: string(ch.Transport), Proxy: ch.Proxy,
			Connected: ch.Connected, Wanted: ch.Wanted, Bulk: ch.Bulk.Idle + ch.Bulk.Used, RoundTrip: ch.RoundTrip, Streams: ch.Streams,
			Requests: ch.Requests, Redials: ch.Redials, LastError: ch.LastError,
		})
	}
	return channels
}

// unknownChannels are the channels of a connection point that does not answer: what should be there, and nothing more.
func unknownChannels(id causeway.ConnectionPointID, instances []site.Instance) (channels []console.ChannelStatus) {
	for _, in := range instances {
		channels = append(channels, console.ChannelStatus{ConnectionPoint: id, Slot: in.Slot, Instance: in.ID, State: unknownState})
	}
	return channels
}

// serversOf is how a connection point reaches the published servers, in the words of the site's status.
func serversOf(own connpoint.Status) (servers []console.ServerStatus) {
	for _, s := range own.Servers {
		servers = append(servers, console.ServerStatus{Server: s.Name, ConnectionPoint: own.ID, State: s.State, LastError: s.LastError, LastTry: s.LastTry})
	}
	return servers
}
