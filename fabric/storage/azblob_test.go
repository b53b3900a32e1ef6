package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	azb "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	azcontainer "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	azlease "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/lease"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	azservice "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
)

// options point an SDK's client at a server, by any name.
func (f *fixture) options(s *httptest.Server) azcore.ClientOptions {
	c := client(s)
	f.t.Cleanup(c.CloseIdleConnections)
	return policy.ClientOptions{Transport: c, Retry: policy.RetryOptions{MaxRetries: -1}}
}

// token is a credential of a principal's, as verify knows them.
type token string

func (t token) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	audience := strings.TrimSuffix(o.Scopes[0], "/.default")
	return azcore.AccessToken{Token: audience + " " + string(t), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// TestTheSDKWorks does with azure-sdk-for-go what the roles do: by account key and by token, by host and by path.
func TestTheSDKWorks(t *testing.T) {
	f := open(t)
	byHost, byPath := "https://first."+blobHost+"/", f.blobs.URL+"/first/"
	options := f.options(f.blobs)
	for name, c := range map[string]*azservice.Client{
		"key by host":   must(azservice.NewClientWithSharedKeyCredential(byHost, f.key("first"), &azservice.ClientOptions{ClientOptions: options})),
		"key by path":   must(azservice.NewClientWithSharedKeyCredential(byPath, f.key("first"), &azservice.ClientOptions{ClientOptions: options})),
		"token by host": must(azservice.NewClient(byHost, token(owner), &azservice.ClientOptions{ClientOptions: options})),
		"token by path": must(azservice.NewClient(byPath, token(owner), &azservice.ClientOptions{ClientOptions: options})),
	} {
		t.Run(name, func(t *testing.T) {
			box := c.NewContainerClient(strings.ReplaceAll(name, " ", "-"))
			must(box.Create(t.Context(), &azcontainer.CreateOptions{Metadata: map[string]*string{"k": to.Ptr("v")}}))
			sdkBlobs(t, box)
			sdkLeases(t, box.NewBlockBlobClient("leased"))
			sdkErrors(t, box)
			pages := c.NewListContainersPager(&azservice.ListContainersOptions{Prefix: to.Ptr(strings.ReplaceAll(name, " ", "-"))})
			if p := must(pages.NextPage(t.Context())); len(p.ContainerItems) != 1 || pages.More() {
				t.Errorf("containers: %v", p.ContainerItems)
			}
			must(box.Delete(t.Context(), nil))
		})
	}
	if f.files() != 0 {
		t.Errorf("%d files are left", f.files())
	}
}

func sdkBlobs(t *testing.T, box *azcontainer.Client) {
	ctx := t.Context()
	data := make([]byte, 5<<20+17)
	_, _ = rand.Read(data)
	big := box.NewBlockBlobClient("folder/big blob+%é.bin")
	must(big.UploadStream(ctx, bytes.NewReader(data), &blockblob.UploadStreamOptions{BlockSize: 1 << 20, Metadata: map[string]*string{"a_b": to.Ptr("1")},
		HTTPHeaders: &azb.HTTPHeaders{BlobContentType: to.Ptr("a/b")}}))
	got := make([]byte, len(data))
	must(big.DownloadBuffer(ctx, got, &azb.DownloadBufferOptions{BlockSize: 700_000}))
	if !bytes.Equal(got, data) {
		t.Error("the big blob is another one")
	}
	properties := must(big.GetProperties(ctx, nil))
	if *properties.ContentLength != int64(len(data)) || *properties.ContentType != "a/b" || len(properties.Metadata) != 1 {
		t.Errorf("properties are %+v", properties)
	}
	if blocks := must(big.GetBlockList(ctx, blockblob.BlockListTypeAll, nil)); len(blocks.CommittedBlocks) != 6 || len(blocks.UncommittedBlocks) != 0 {
		t.Errorf("blocks are %+v", blocks.BlockList)
	}
	small := box.NewBlockBlobClient("folder/small")
	must(small.Upload(ctx, nopCloser("small"), &blockblob.UploadOptions{TransactionalValidation: azb.TransferValidationTypeComputeCRC64()}))
	part := must(small.DownloadStream(ctx, &azb.DownloadStreamOptions{Range: azb.HTTPRange{Offset: 1, Count: 2}, RangeGetContentMD5: to.Ptr(true)}))
	if text := must(io.ReadAll(part.Body)); string(text) != "ma" || len(part.ContentMD5) != 16 {
		t.Errorf("a part is %q with %d bytes of hash", text, len(part.ContentMD5))
	}
	_ = part.Body.Close()
	must(box.NewBlobClient("copy").CopyFromURL(ctx, small.URL(), nil))
	var names []string
	pages := box.NewListBlobsHierarchyPager("/", &azcontainer.ListBlobsHierarchyOptions{MaxResults: to.Ptr[int32](1), Include: azcontainer.ListBlobsInclude{Metadata: true}})
	for pages.More() {
		p := must(pages.NextPage(ctx))
		for _, b := range p.Segment.BlobItems {
			names = append(names, *b.Name)
		}
		for _, b := range p.Segment.BlobPrefixes {
			names = append(names, *b.Name)
		}
	}
	if !slices.Equal(names, []string{"copy", "folder/"}) {
		t.Errorf("names are %q", names)
	}
	flat := box.NewListBlobsFlatPager(&azcontainer.ListBlobsFlatOptions{Prefix: to.Ptr("folder/")})
	if p := must(flat.NextPage(ctx)); len(p.Segment.BlobItems) != 2 || *p.Segment.BlobItems[0].Name != "folder/big blob+%é.bin" || *p.Segment.BlobItems[0].Properties.ContentLength != int64(len(data)) {
		t.Errorf("the flat list has %d", len(p.Segment.BlobItems))
	}
	for _, b := range []*blockblob.Client{big, small} {
		must(b.Delete(ctx, nil))
	}
}

type closer struct{ *strings.Reader }

func (closer) Close() error { return nil }

func nopCloser(s string) io.ReadSeekCloser { return closer{strings.NewReader(s)} }

func sdkLeases(t *testing.T, b *blockblob.Client) {
	ctx := t.Context()
	must(b.Upload(ctx, nopCloser("x"), nil))
	l := must(azlease.NewBlobClient(b, nil))
	must(l.AcquireLease(ctx, 30, nil))
	if _, err := b.Delete(ctx, nil); !bloberror.HasCode(err, bloberror.LeaseIDMissing) {
		t.Errorf("deleted without the lease: %v", err)
	}
	must(l.RenewLease(ctx, nil))
	must(b.SetMetadata(ctx, map[string]*string{"k": to.Ptr("v")}, &azb.SetMetadataOptions{AccessConditions: &azb.AccessConditions{LeaseAccessConditions: &azb.LeaseAccessConditions{LeaseID: l.LeaseID()}}}))
	if broken := must(l.BreakLease(ctx, &azlease.BlobBreakOptions{BreakPeriod: to.Ptr[int32](0)})); *broken.LeaseTime != 0 {
		t.Errorf("it breaks in %d", *broken.LeaseTime)
	}
	must(b.Delete(ctx, nil))
}

func sdkErrors(t *testing.T, box *azcontainer.Client) {
	ctx := t.Context()
	b := box.NewBlockBlobClient("once")
	once := &blockblob.UploadOptions{AccessConditions: &azb.AccessConditions{ModifiedAccessConditions: &azb.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}}}
	must(b.Upload(ctx, nopCloser("x"), once))
	for _, tt := range []struct {
		err  error
		want bloberror.Code
	}{
		{errorOf(b.Upload(ctx, nopCloser("x"), once)), bloberror.BlobAlreadyExists},
		{errorOf(box.Create(ctx, nil)), bloberror.ContainerAlreadyExists},
		{errorOf(box.NewBlobClient("none").GetProperties(ctx, nil)), bloberror.BlobNotFound},
		{errorOf(b.DownloadStream(ctx, &azb.DownloadStreamOptions{Range: azb.HTTPRange{Offset: 5}})), bloberror.InvalidRange},
		{errorOf(b.CommitBlockList(ctx, []string{"AAAA"}, nil)), bloberror.InvalidBlockList},
		{errorOf(b.DownloadStream(ctx, &azb.DownloadStreamOptions{AccessConditions: &azb.AccessConditions{ModifiedAccessConditions: &azb.ModifiedAccessConditions{IfMatch: to.Ptr(azcore.ETag("0x1"))}}})),
			bloberror.ConditionNotMet},
	} {
		if !bloberror.HasCode(tt.err, tt.want) {
			t.Errorf("got %v, want %s", tt.err, tt.want)
		}
	}
	must(b.Delete(ctx, nil))
}

func errorOf[V any](_ V, err error) error { return err }

// TestTheSDKSignsByDelegation gives away a blob as the gateway does: by a key that a token was exchanged for.
func TestTheSDKSignsByDelegation(t *testing.T) {
	f := open(t)
	f.container("box")
	f.put("/box/a", "text").want(t, "201")
	if _, err := f.SetAccount(t.Context(), "first", Settings{}); err != nil {
		t.Fatal(err)
	}
	options := f.options(f.blobs)
	c := must(azservice.NewClient("https://first."+blobHost+"/", token(reader), &azservice.ClientOptions{ClientOptions: options}))
	now := f.clock.now().UTC()
	info := azservice.KeyInfo{Start: to.Ptr(now.Format(sas.TimeFormat)), Expiry: to.Ptr(now.Add(time.Hour).Format(sas.TimeFormat))}
	key := must(c.GetUserDelegationCredential(t.Context(), info, nil))
	v := sas.BlobSignatureValues{Protocol: sas.ProtocolHTTPS, ExpiryTime: now.Add(time.Minute), Permissions: "r", ContainerName: "box", BlobName: "a"}
	signature := must(v.SignWithUserDelegation(key))
	b := must(azb.NewClientWithNoCredential("https://first."+blobHost+"/box/a?"+signature.Encode(), &azb.ClientOptions{ClientOptions: options}))
	body := must(b.DownloadStream(t.Context(), nil))
	if text := must(io.ReadAll(body.Body)); string(text) != "text" {
		t.Errorf("it holds %q", text)
	}
	_ = body.Body.Close()
	if _, err := b.Delete(t.Context(), nil); !bloberror.HasCode(err, bloberror.AuthorizationPermissionMismatch) {
		t.Errorf("deleted: %v", err)
	}
	f.clock.add(time.Minute)
	if _, err := b.GetProperties(t.Context(), nil); !isStatus(err, 403) {
		t.Errorf("after its time: %v", err)
	}
}

func isStatus(err error, status int) bool {
	e, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && e.StatusCode == status
}

func TestTheSDKWorksWithAConnectionString(t *testing.T) {
	f := open(t)
	text := fmt.Sprintf("DefaultEndpointsProtocol=https;AccountName=first;AccountKey=%s;BlobEndpoint=%s/first;", must(f.Keys("first"))[1].Value, f.blobs.URL)
	c := must(azblob.NewClientFromConnectionString(text, &azblob.ClientOptions{ClientOptions: f.options(f.blobs)}))
	must(c.CreateContainer(t.Context(), "box", nil))
	must(c.UploadStream(t.Context(), "box", "stream", strings.NewReader(strings.Repeat("x", 3<<20)), nil))
	signed := must(c.ServiceClient().NewContainerClient("box").NewBlobClient("stream").GetSASURL(sas.BlobPermissions{Read: true}, time.Now().Add(time.Hour), nil))
	f.send(f.blobs, "", "GET", signed, "").want(t, "200")
}
