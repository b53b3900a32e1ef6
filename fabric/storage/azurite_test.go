package storage

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	azservice "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
)

// The account that Azurite always has, with the key that its documentation names.
const (
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// azurite is where tools/setup.sh puts it.
const azurite = "../../bin/azurite-3.35.0/node_modules/.bin/azurite"

// TestAzuriteAgrees runs what the SDK's tests ask of this package against Microsoft's own emulator.
func TestAzuriteAgrees(t *testing.T) {
	program, err := filepath.Abs(azurite)
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		t.Skip("azurite is not there, so it is not asked whether it agrees: tools/setup.sh test installs it with npm")
	}
	blobs, tables := startAzurite(t, program)
	t.Run("blobs", func(t *testing.T) {
		key := must(azblob.NewSharedKeyCredential(azuriteAccount, azuriteKey))
		c := must(azservice.NewClientWithSharedKeyCredential("http://"+blobs+"/"+azuriteAccount, key, nil))
		box := c.NewContainerClient("box")
		must(box.Create(t.Context(), nil))
		sdkBlobs(t, box)
		sdkLeases(t, box.NewBlockBlobClient("leased"))
		sdkErrors(t, box)
	})
	t.Run("tables", func(t *testing.T) {
		key := must(aztables.NewSharedKeyCredential(azuriteAccount, azuriteKey))
		c := must(aztables.NewServiceClientWithSharedKey("http://"+tables+"/"+azuriteAccount+"/", key, nil))
		must(c.CreateTable(t.Context(), "Tab", nil))
		sdkEntities(t, c.NewClient("Tab"))
		sdkBatches(t, c.NewClient("Tab"))
	})
}

// startAzurite returns the addresses of its planes. It is loose since it refuses what it cannot check otherwise: CRC-64.
func startAzurite(t *testing.T, program string) (blobs, tables string) {
	var addresses, arguments []string
	for _, plane := range []string{"blob", "table", "queue"} {
		l := must(net.Listen("tcp", "127.0.0.1:0"))
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		addresses = append(addresses, l.Addr().String())
		arguments = append(arguments, "--"+plane+"Port", fmt.Sprint(port))
	}
	c := exec.CommandContext(t.Context(), program, append(arguments, "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence", "--loose")...)
	c.Dir, c.WaitDelay = t.TempDir(), 15*time.Second
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Process.Kill(), c.Wait() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		up := 0
		for _, a := range addresses {
			if conn, err := net.Dial("tcp", a); err == nil {
				conn.Close()
				up++
			}
		}
		if up == len(addresses) {
			return addresses[0], addresses[1]
		}
		if time.Now().After(deadline) {
			t.Fatal("azurite does not listen")
		}
	}
}
