import { describeLinux } from "./linux.ts";

describeLinux({
  kernel: "vmlinuz-cloud-amd64",
  initramfs: "initramfs-amd64.cpio.gz",
  name: /Linux 6\.1\.0-\d+-cloud-amd64 x86_64\n$/,
});
