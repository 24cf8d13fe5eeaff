// SPDX-License-Identifier: (GPL-2.0 OR MIT)
/*
 * Portico's paravirtual I/O on a device: the "tally" of docs/examples/tally.ts, which has the same registers at ports
 * and in MMIO and counts who comes. Each reading of /proc/portico_pv goes through them by every way that there is: IN
 * and OUT, port calls, handles, and plain MMIO. All must find the same.
 *
 *   insmod portico_pv.ko [port=0x320] [mmio=0xe1000000] [accesses=1000]
 *
 * Where the host has no calls, the same code does it with plain instructions, and says so.
 */

#include <linux/init.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

#include "portico_pv.h"

#define NAME "portico_pv"

/* Registers of the tally, dwords. */
#define TALLY_DATA 0x0 /* read: the next value; write: mixed into it */
#define TALLY_READS 0x4 /* of DATA */
#define TALLY_WRITES 0x8
#define TALLY_SEED 0xc /* read: MAGIC; write: the value to begin with */
#define TALLY_MAGIC 0x594c4c54u /* "TLLY" */
#define PORT_BYTES 0x10
#define MMIO_BYTES 0x1000

static ushort port = 0x320;
module_param(port, ushort, 0444);
MODULE_PARM_DESC(port, "first port of the device");

static ulong mmio = 0xe1000000ul;
module_param(mmio, ulong, 0444);
MODULE_PARM_DESC(mmio, "physical address of its registers");

static uint accesses = 1000;
module_param(accesses, uint, 0644);
MODULE_PARM_DESC(accesses, "reads, and writes, by each way");

static struct pv pv;
static struct pv_range port_range;
static struct pv_range mmio_range;
static void __iomem *registers;
static struct proc_dir_entry *entry;
/* One measurement at a time: they share the device. */
static DEFINE_MUTEX(measuring);

static u32 read_port(unsigned int offset)
{
	return inl(port + offset);
}

static void write_port(unsigned int offset, u32 value)
{
	outl(value, port + offset);
}

static u32 read_port_call(unsigned int offset)
{
	return pv_in32(&pv, port + offset);
}

static void write_port_call(unsigned int offset, u32 value)
{
	pv_out32(&pv, port + offset, value);
}

static u32 read_port_handle(unsigned int offset)
{
	return pv_read(&port_range, offset, 4);
}

static void write_port_handle(unsigned int offset, u32 value)
{
	pv_write(&port_range, offset, 4, value);
}

static u32 read_mmio(unsigned int offset)
{
	return readl(registers + offset);
}

static void write_mmio(unsigned int offset, u32 value)
{
	writel(value, registers + offset);
}

static u32 read_mmio_handle(unsigned int offset)
{
	return pv_read(&mmio_range, offset, 4);
}

static void write_mmio_handle(unsigned int offset, u32 value)
{
	pv_write(&mmio_range, offset, 4, value);
}

enum { PLAIN, CALL, PORT_HANDLE, MMIO_HANDLE };

static const struct way {
	const char *name;
	u32 (*read)(unsigned int offset);
	void (*write)(unsigned int offset, u32 value);
	int needs;
} ways[] = {
	{ "port-plain", read_port, write_port, PLAIN },
	{ "port-call", read_port_call, write_port_call, CALL },
	{ "port-handle", read_port_handle, write_port_handle, PORT_HANDLE },
	{ "mmio-plain", read_mmio, write_mmio, PLAIN },
	{ "mmio-handle", read_mmio_handle, write_mmio_handle, MMIO_HANDLE },
};

/* Whether the way is what its name says: without calls or a handle, plain instructions do. */
static bool is_call(const struct way *way)
{
	switch (way->needs) {
	case CALL:
		return pv.features & PV_FEATURE_IO;
	case PORT_HANDLE:
		return port_range.handle != 0;
	case MMIO_HANDLE:
		return mmio_range.handle != 0;
	default:
		return false;
	}
}

static void measure(struct seq_file *file, const struct way *way, unsigned int count)
{
	u32 reads = read_port(TALLY_READS), writes = read_port(TALLY_WRITES), sum = 0;
	u64 began, read_ns, write_ns;
	unsigned int i;

	write_port(TALLY_SEED, 1);
	began = ktime_get_ns();
	for (i = 0; i < count; i++)
		sum = sum * 31 + way->read(TALLY_DATA);
	read_ns = ktime_get_ns() - began;

	began = ktime_get_ns();
	for (i = 0; i < count; i++)
		way->write(TALLY_DATA, i);
	write_ns = ktime_get_ns() - began;
	/* What was written shows, too. */
	sum = sum * 31 + way->read(TALLY_DATA);

	reads = read_port(TALLY_READS) - reads;
	writes = read_port(TALLY_WRITES) - writes;
	seq_printf(file, "%-12s %-11s %7u %7u 0x%08x %9llu %9llu\n", way->name, is_call(way) ? "call" : "instruction",
		   reads, writes, sum, div_u64(read_ns, count), div_u64(write_ns, count));
}

static int show(struct seq_file *file, void *unused)
{
	unsigned int count = max(accesses, 1u), i;

	mutex_lock(&measuring);
	seq_printf(file, "features 0x%x port 0x%x mmio 0x%lx\n", pv.features, port, mmio);
	seq_puts(file, "way          by            reads  writes   checksum   ns/read  ns/write\n");
	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		measure(file, &ways[i], count);
		cond_resched();
	}
	mutex_unlock(&measuring);
	return 0;
}

static int __init portico_pv_init(void)
{
	int error = -EBUSY;

	if (!request_region(port, PORT_BYTES, NAME))
		return -EBUSY;
	if (!request_mem_region(mmio, MMIO_BYTES, NAME))
		goto free_ports;
	error = -ENOMEM;
	registers = ioremap(mmio, MMIO_BYTES);
	if (!registers)
		goto free_memory;
	error = -ENODEV;
	if (read_port(TALLY_SEED) != TALLY_MAGIC || read_mmio(TALLY_SEED) != TALLY_MAGIC) {
		pr_err(NAME ": no tally at port 0x%x and 0x%lx\n", port, mmio);
		goto unmap;
	}
	pv = pv_probe();
	port_range = pv_map(&pv, PV_PORT, port, PORT_BYTES);
	mmio_range = pv_map_at(&pv, PV_MMIO, mmio, MMIO_BYTES, (uintptr_t)registers);
	error = -ENOMEM;
	entry = proc_create_single(NAME, 0400, NULL, show);
	if (!entry)
		goto give_back;
	return 0;

give_back:
	pv_unmap(&mmio_range);
	pv_unmap(&port_range);
unmap:
	iounmap(registers);
free_memory:
	release_mem_region(mmio, MMIO_BYTES);
free_ports:
	release_region(port, PORT_BYTES);
	return error;
}

static void __exit portico_pv_exit(void)
{
	proc_remove(entry);
	pv_unmap(&mmio_range);
	pv_unmap(&port_range);
	iounmap(registers);
	release_mem_region(mmio, MMIO_BYTES);
	release_region(port, PORT_BYTES);
}

module_init(portico_pv_init);
module_exit(portico_pv_exit);
MODULE_DESCRIPTION("Portico's port and MMIO access by hypercall, measured");
MODULE_AUTHOR("The Portico authors");
MODULE_LICENSE("Dual MIT/GPL");
