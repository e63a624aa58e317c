"""Animals and machines: addresses, licences and checksums."""

from __future__ import annotations

from auricle.corpus.published.archive import Archive, DataSet, zenodo

_DCASE20 = {
    "dev_data_fan.zip": "649bdfc06263ae7a838963f43b6641e6",
    "dev_data_pump.zip": "90e7091ef722b7238a7f1009365779cd",
    "dev_data_slider.zip": "da24a757719f0d94d5aa2d646bbfdc86",
    "dev_data_ToyCar.zip": "4dec75ca8d9f666aa9e4c1894a740501",
    "dev_data_ToyConveyor.zip": "03b6aa1bfd09a39d53af0ba39f71fa91",
    "dev_data_valve.zip": "34d2672f55bb041589ef79c10dc89934",
}
_DCASE23 = {
    "dev_bearing.zip": "8a813bc8d8f156b5395bfccdfac7673c",
    "dev_fan.zip": "9348591e96fb0ad499a1e33b082562fc",
    "dev_gearbox.zip": "b6e55f6a31faa0fc8569ec0afdd53ccf",
    "dev_slider.zip": "b3f8dee36b4718c36d659a4fd1c4afe0",
    "dev_ToyCar.zip": "4e3bf15f4101ed4ed4f1fecde2e2b2a3",
    "dev_ToyTrain.zip": "6b02a6c65eebb3b8b1ae59a6b25bb897",
    "dev_valve.zip": "b2051a2022eadb53cd97581120811cae",
}
_BIRDSET = "https://huggingface.co/datasets/DBD-research-group/BirdSet"

DATA = (
    DataSet(
        name="birdset",
        title="BirdSet (a region, such as HSN)",
        licence="each recording has a Creative Commons licence of its own (most CC BY-NC-SA); soundscapes CC BY 4.0",
        citation='L. Rauch et al., "BirdSet: A Large-Scale Dataset for Audio Classification in Avian Bioacoustics", '
        "ICLR 2025",
        home=_BIRDSET,
        size="HSN: 5,460 recordings and 12,000 segments of 5 s",
        layout="birdset",
        how="hf download DBD-research-group/BirdSet --repo-type dataset --revision data --include 'HSN/*' --local-dir "
        "FOLDER, then unpack its *_shard_*.tar.gz there",
    ),
    DataSet(
        name="beehive",
        title="Beehive States (Nu-Hive recordings)",
        licence="see its page",
        citation='S. Cecchi et al., "A preliminary study of sounds emitted by honey bees in a beehive", AES 2018',
        home="https://zenodo.org/record/2667806",
        size="recordings of 10 minutes of two hives",
        layout="beehive",
        archives=tuple(
            Archive(f"https://zenodo.org/record/2667806/files/{name}.rar?download=1", f"md5:{digits}")
            for name, digits in (
                ("Hive1_12_06_2018", "c04cd7fd310a84f327eb7121e026b40a"),
                ("Hive1_31_05_2018", "834c58cb1e4c9a15a332a16e106bfa11"),
                ("Hive3_14_07_2017", "c1fc5c4d2e110aa2bc8687393db7d55d"),
                ("Hive3_28_07_2017", "3fe9c0488a2207379f410a81d17c5d18"),
            )
        ),
        how="unpack each .rar into a folder of its name (unrar x)",
    ),
    DataSet(
        name="mimii",
        title="MIMII at 0 dB",
        licence="CC BY-SA 4.0",
        citation='H. Purohit et al., "MIMII Dataset: Sound Dataset for Malfunctioning Industrial Machine Investigation '
        'and Inspection", DCASE 2019',
        home="https://zenodo.org/record/3384388",
        size="four machines, about 10 GB each",
        layout="mimii",
        archives=zenodo(3384388, {f"0_dB_{machine}.zip": "" for machine in ("fan", "pump", "slider", "valve")}),
    ),
    DataSet(
        name="dcase2020_task2",
        title="DCASE 2020 task 2, development part (of MIMII and ToyADMOS)",
        licence="CC BY-NC-SA 4.0",
        citation='Y. Koizumi et al., "Description and Discussion on DCASE2020 Challenge Task2: Unsupervised Anomalous '
        'Sound Detection for Machine Condition Monitoring", arXiv 2006.05822',
        home="https://zenodo.org/record/3678171",
        size="six machines",
        layout="dcase2020_task2",
        archives=zenodo(3678171, _DCASE20),
    ),
    DataSet(
        name="dcase2023_task2",
        title="DCASE 2023 task 2, development part (of MIMII DG and ToyADMOS2)",
        licence="CC BY-NC-SA 4.0",
        citation='N. Harada et al., "First-shot anomaly detection for machine condition monitoring: A domain '
        'generalization baseline", arXiv 2303.00455',
        home="https://zenodo.org/record/7882613",
        size="seven machines",
        layout="dcase_task2",
        archives=zenodo(7882613, _DCASE23),
    ),
)
